/*
 * Members of a document that its table has checked, by name. One that is absent, null or of another
 * type is as if it were not there.
 */
#ifndef TPI_DATA_MEMBER_H
#define TPI_DATA_MEMBER_H

#include <stdbool.h>
#include <tpcore/value.h>

/* NULL if it is not there, or map is NULL. */
static inline const struct tpc_value *tpi_member(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = map != NULL ? tpc_value_get(map, tpc_str_from(key)) : NULL;
    return v != NULL && v->type != TPC_NULL ? v : NULL;
}

/* Empty if it is not there. A view into the map. */
static inline struct tpc_str tpi_member_text(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = tpi_member(map, key);
    return v != NULL ? tpc_value_text(v) : (struct tpc_str){ NULL, 0 };
}

/* As tpc_value_int(). */
static inline int64_t tpi_member_int(const struct tpc_value *map, const char *key,
                                     int64_t otherwise)
{
    int64_t i = otherwise;
    const struct tpc_value *v = tpi_member(map, key);
    return v != NULL && tpc_value_int(v, &i) == 0 ? i : otherwise;
}

static inline bool tpi_member_bool(const struct tpc_value *map, const char *key, bool otherwise)
{
    const struct tpc_value *v = tpi_member(map, key);
    return v != NULL && v->type == TPC_BOOL ? v->as.b : otherwise;
}

#endif
