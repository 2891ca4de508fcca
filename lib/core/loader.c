#include "core/loader.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "core/config.h"

enum { PATH_BYTES = 4096, NAME_BYTES = 32 };

/* "/x/tpc_http_client.so.1" gives "http_client"; false if the file is not called tpc_<name>.so. */
static bool module_name(const char *path, char ret[NAME_BYTES])
{
    const char *slash = strrchr(path, '/');
    const char *file = slash != NULL ? slash + 1 : path;
    if (strncmp(file, "tpc_", 4) != 0) {
        return false;
    }
    file += 4;
    const char *end = strstr(file, ".so");
    if (end == NULL || end == file || (size_t) (end - file) >= NAME_BYTES) {
        return false;
    }
    memcpy(ret, file, (size_t) (end - file));
    ret[end - file] = '\0';
    return true;
}

int tpi_loader_open(const char *path, struct tpc_error *err, void **ret_object,
                    const struct tpc_module **ret_module)
{
    char full[PATH_BYTES];
    char name[NAME_BYTES];
    char symbol[NAME_BYTES + 16];
    int len = strchr(path, '/') != NULL
                  ? snprintf(full, sizeof(full), "%s", path)
                  : snprintf(full, sizeof(full), "%s/%s", TPI_MODULE_DIR, path);
    if (len < 0 || (size_t) len >= sizeof(full)) {
        return tpi_error_set(err, TPC_EINVAL, "core", "the path is longer than %d bytes",
                             PATH_BYTES);
    }
    if (!module_name(full, name)) {
        return tpi_error_set(err, TPC_EINVAL, "core", "%s is not called tpc_<name>.so", full);
    }
    if (access(full, F_OK) != 0) {
        return tpi_error_set(err, TPC_ENOENT, "core", "no file %s", full);
    }
    void *object = dlopen(full, RTLD_LOCAL | RTLD_NOW);
    if (object == NULL) {
        const char *why = dlerror();
        return tpi_error_set(err, TPC_EINVAL, "core", "%s", why != NULL ? why : "cannot be loaded");
    }
    snprintf(symbol, sizeof(symbol), "tpc_module_%s", name);
    const struct tpc_module *(*get)(void) = NULL;
    void *address = dlsym(object, symbol);
    memcpy(&get, &address, sizeof(get)); /* ISO C has no cast from object to function pointer */
    const struct tpc_module *module = get != NULL ? get() : NULL;
    if (module == NULL) {
        dlclose(object);
        return tpi_error_set(err, TPC_EINVAL, "core", "%s does not export %s()", full, symbol);
    }
    if (module->name == NULL || strcmp(module->name, name) != 0) {
        dlclose(object);
        return tpi_error_set(err, TPC_EINVAL, "core", "%s holds a module of another name", full);
    }
    *ret_object = object;
    *ret_module = module;
    return 0;
}

void tpi_loader_close(void *object)
{
    if (object != NULL) {
        dlclose(object);
    }
}
