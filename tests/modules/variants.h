/*
 * Modules that are a little off, each by one thing. One source makes all of them: linked into the
 * test, and as tpc_<name>.so, whose file name picks the function.
 */
#ifndef VARIANTS_H
#define VARIANTS_H

#include <tpcore/ext/module.h>

#define VARIANT(name) __attribute__((visibility("default"))) const struct tpc_module *name(void)

VARIANT(tpc_module_v_good);
VARIANT(tpc_module_v_short);      /* its table ends before the optional method */
VARIANT(tpc_module_v_long);       /* its table has members that this library does not know */
VARIANT(tpc_module_v_option);     /* its option elements end before `since` */
VARIANT(tpc_module_v_major);      /* adapter table of major 7 */
VARIANT(tpc_module_v_descriptor); /* descriptor of major 9 */
VARIANT(tpc_module_v_lacks);      /* no send */
VARIANT(tpc_module_v_cut);        /* its table ends before send */
VARIANT(tpc_module_v_other);      /* calls itself v_good2 */
VARIANT(tpc_module_v_name);       /* a name that is no identifier */
VARIANT(tpc_module_v_bare);       /* no interfaces */
VARIANT(tpc_module_v_threads);    /* starts threads */
VARIANT(tpc_module_v_offers);     /* offers "v.link" */
VARIANT(tpc_module_v_needs);      /* needs "v.link" */
VARIANT(tpc_module_v_ring_a);     /* needs what v_ring_b offers, and the other way round */
VARIANT(tpc_module_v_ring_b);
VARIANT(tpc_module_v_future); /* an interface of a kind that is not known */

#endif
