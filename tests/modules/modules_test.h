/* Shared by the files of the test: a core whose log is kept. */
#ifndef MODULES_TEST_H
#define MODULES_TEST_H

#include <tpcore/core.h>
#include <tpcore/ext/module.h>

#include "tk.h"
#include "tk_env.h"

struct mt {
    struct tk_env e;
    struct tpc_core *core;
};

void mt_open(struct mt *m, uint32_t flags, uint32_t threads);
void mt_close(struct mt *m); /* and nothing is left allocated */

/* Fails unless the last error's text holds part. */
void mt_error_says(const char *part);

/* Adds nothing: opens, starts, steps and stops an instance of a module that is known. */
void mt_run(struct mt *m, const char *module);

/* Path of a shared object of this test. Static text. */
const char *mt_object(const char *file);

Suite *descriptor_suite(void);
Suite *object_suite(void);
Suite *service_suite(void);

#endif
