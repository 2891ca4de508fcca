/* Loads a module from a shared object and prints what it is. */
#include <stdio.h>
#include <tpcore/tpcore.h>

static int print(void *user, const struct tpc_module_info *info)
{
    (void) user;
    if (info->loaded) {
        printf("%s %s: %s, %s\n", info->name, info->version, info->interfaces, info->licence);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    options.flags = TPC_CORE_LOAD_ANY;
    if (argc != 2 || tpc_core_create(&options, &core) != 0 ||
        tpc_core_load_module(core, argv[1]) != 0) {
        fprintf(stderr, "%s\n", tpc_error_last()->text);
        return 1;
    }
    tpc_core_modules(core, print, NULL);
    return tpc_core_destroy(core);
}
