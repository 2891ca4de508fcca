/* A folder with the files of a set, filled from the fixtures in pem/. */
#ifndef PEM_FILES_H
#define PEM_FILES_H

#include "tk_env.h"

#include "files.h"

struct pem_files {
    struct tk_env env;
    struct tls_files files;
    char path[TLS_ROLES][300];
};

/* Names of fixtures; NULL = the file is not part of the set. */
void pem_begin(struct pem_files *p, const char *ca, const char *cert, const char *key);
void pem_end(struct pem_files *p);

/* Replaces a file by a fixture: a new one that is renamed over it. */
void pem_put(struct pem_files *p, enum tls_role role, const char *fixture);
/* Replaces it by these bytes. */
void pem_write(struct pem_files *p, enum tls_role role, const void *bytes, size_t len);
/* A fixture's text, static. */
const char *pem_text(const char *fixture, size_t *ret_len);

/* Looks; what came of it. */
int pem_look(struct pem_files *p);

#endif
