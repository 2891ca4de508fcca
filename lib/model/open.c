/* Values of keys that the model does not know, of products that keep them. */
#include <float.h>
#include <tpcore/msg.h>

#include "base/error.h"
#include "data/utf8.h"
#include "model/model.h"
#include "model/put.h"
#include "model/spec.h"

static const char origin[] = "model";

static int refuse(struct tpc_error *err, struct tpc_str key, const char *what)
{
    return tpi_error_set(err, TPC_EMODEL, origin, "\"%.*s\" %s",
                         (int) (key.len < 64 ? key.len : 64), key.len > 0 ? key.ptr : "", what);
}

/* What no value may hold, at any depth; NULL = nothing. Readers limit the depth of trees. */
static const char *fault(const struct tpc_value *v)
{
    const char *why = NULL;
    switch (v->type) {
    case TPC_DOUBLE:
        return v->as.d >= -DBL_MAX && v->as.d <= DBL_MAX ? NULL : "is not a number";
    case TPC_BLOB:
        return "is binary bytes, which no model can hold";
    case TPC_ARRAY:
        for (size_t i = 0; i < v->len && why == NULL; i++) {
            why = fault(&v->as.items[i]);
        }
        return why;
    case TPC_MAP:
        for (size_t i = 0; i < v->len && why == NULL; i++) {
            why = fault(&v->as.members[i].value);
        }
        return why;
    default:
        return NULL;
    }
}

int tpi_model_open_check(struct tpc_str key, const struct tpc_value *in, struct tpc_error *err)
{
    if (key.len == 0 || key.len > TPI_MODEL_OPEN_KEY) {
        return refuse(err, key, "is no key of 1 to 256 bytes");
    }
    for (size_t i = 0; i < key.len; i++) {
        if ((unsigned char) key.ptr[i] < 0x20 || key.ptr[i] == 0x7F) {
            return refuse(err, key, "is a key with a control byte");
        }
    }
    if (in->type == TPC_NULL) {
        return refuse(err, key, "is null");
    }
    if (in->type == TPC_TEXT && in->len > TPI_MODEL_MAX_TEXT) {
        return refuse(err, key, "is a text of more than 262144 bytes");
    }
    const char *why = fault(in);
    return why != NULL ? refuse(err, key, why) : 0;
}

void tpi_model_open(struct tpi_model *m)
{
    m->open = true;
}

bool tpi_put_kept(struct tpi_direct *d, struct tpc_str key, const struct tpc_value *v)
{
    if (tpi_model_open_check(key, v, NULL) != 0) {
        tpi_put_bad(d, key, v);
        return true;
    }
    if (!tpi_way_room(d)) {
        return false;
    }
    d->points[d->count] = (struct tpc_point){ .key = key, .value = *v };
    d->indexes[d->count++] = TPI_MODEL_NO_INDEX;
    d->kept++;
    return true;
}
