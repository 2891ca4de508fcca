/* What a value becomes by the `type` of its entry. */
#ifndef CONNECTOR_CAST_H
#define CONNECTOR_CAST_H

#include <tpcore/arena.h>
#include <tpcore/value.h>

enum cast { CAST_RAW, CAST_STRING, CAST_INTEGER, CAST_DOUBLE, CAST_BOOLEAN };

/* Of a name in the option table: long is integer, float is double. */
enum cast cast_of(struct tpc_str name);

/*
 * string   texts as they are, others as JSON writes them
 * integer  numbers, cut towards zero; texts that are one; true is 1
 * double   numbers, texts that are one; true is 1
 * boolean  numbers other than 0; the texts true, on, yes, 1 and false, off, no, 0 and "" (any case)
 *
 * Returns 0, TPC_EDECODE (it is none such) or TPC_ENOMEM. A text may be a view into what `in` has.
 */
int cast_value(enum cast type, const struct tpc_value *in, struct tpc_arena *arena,
               struct tpc_value *ret);

/* As JSON writes it. */
int cast_json(const struct tpc_value *in, struct tpc_arena *arena, struct tpc_str *ret);

/* As string. */
int cast_text(const struct tpc_value *in, struct tpc_arena *arena, struct tpc_str *ret);

#endif
