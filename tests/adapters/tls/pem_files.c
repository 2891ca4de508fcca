#include "pem_files.h"

#include "tk.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOW_DAYS = 20000 }; /* 2024-10-04 */

const char *pem_text(const char *fixture, size_t *ret_len)
{
    static char text[8192];
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", PEM_DIR, fixture);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    *ret_len = fread(text, 1, sizeof(text) - 1, f);
    text[*ret_len] = '\0';
    fclose(f);
    return text;
}

void pem_write(struct pem_files *p, enum tls_role role, const void *bytes, size_t len)
{
    char fresh[320];
    snprintf(fresh, sizeof(fresh), "%s.new", p->path[role]);
    FILE *f = fopen(fresh, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
    fclose(f);
    ck_assert_int_eq(rename(fresh, p->path[role]), 0);
}

void pem_put(struct pem_files *p, enum tls_role role, const char *fixture)
{
    size_t len;
    const char *text = pem_text(fixture, &len);
    pem_write(p, role, text, len);
}

void pem_begin(struct pem_files *p, const char *ca, const char *cert, const char *key)
{
    static const char *const names[] = { "ca", "cert", "key" };
    const char *fixtures[] = { ca, cert, key };
    const char *dir = tk_tmpdir();
    memset(p, 0, sizeof(*p));
    tk_env_init(&p->env);
    tk_clock_set_unix(&p->env.clock, (int64_t) NOW_DAYS * 86400000);
    (void) mkdir(dir, 0700);
    p->files.alloc = &p->env.alloc.base;
    p->files.clock = &p->env.clock.base;
    p->files.random = &p->env.random;
    for (int i = 0; i < TLS_ROLES; i++) {
        snprintf(p->path[i], sizeof(p->path[i]), "%.250s/%s", dir, names[i]);
        unlink(p->path[i]);
        p->files.name[i] = names[i];
        if (fixtures[i] != NULL) {
            p->files.path[i] = p->path[i];
            pem_put(p, (enum tls_role) i, fixtures[i]);
        }
    }
    tls_files_init(&p->files);
}

void pem_end(struct pem_files *p)
{
    tls_files_fini(&p->files);
    tk_alloc_check(&p->env.alloc);
    tk_env_fini(&p->env);
}

int pem_look(struct pem_files *p)
{
    int news = -1;
    tk_ok(tls_files_look(&p->files, &news));
    return news;
}
