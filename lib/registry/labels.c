/* Members that products, devices and groups share, where a table of options does not say it all. */
#include <string.h>

#include "registry/inside.h"

static int wrong(struct tpc_error *err, const char *at, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, tpi_registry_origin, "%s", text);
    tpi_error_at(err, at);
    return TPC_EINVAL;
}

static int check_label(const struct tpc_member *m, struct tpc_error *err)
{
    struct tpc_str value = tpc_value_text(&m->value);
    char name[TPI_LABEL_NAME_BYTES + 1];
    if (!tpi_label_name_valid(m->key)) {
        return wrong(err, "labels",
                     "a label's name has 1 to 63 letters, digits and _ - . / characters");
    }
    memcpy(name, m->key.ptr, m->key.len);
    name[m->key.len] = 0;
    int rc = 0;
    if (m->value.type != TPC_TEXT) {
        rc = wrong(err, name, "a label's value is a text");
    } else if (value.len > TPI_REGISTRY_LABEL_BYTES || memchr(value.ptr, 0, value.len) != NULL) {
        rc = wrong(err, name, "a label's value has up to 256 bytes, none of them NUL");
    }
    if (rc != 0) {
        tpi_error_at(err, "labels");
    }
    return rc;
}

int tpi_registry_check_labels(const struct tpc_value *doc, struct tpc_error *err)
{
    const struct tpc_value *labels = tpc_value_get(doc, TPC_STR("labels"));
    size_t count = labels != NULL && labels->type == TPC_MAP ? labels->len : 0;
    if (count > TPI_REGISTRY_LABELS) {
        return wrong(err, "labels", "more than 32 labels");
    }
    for (size_t i = 0; i < count; i++) {
        int rc = check_label(&labels->as.members[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int tpi_registry_check_object(const struct tpc_value *doc, const char *member,
                              struct tpc_error *err)
{
    const struct tpc_value *v = tpc_value_get(doc, tpc_str_from(member));
    return v == NULL || v->type == TPC_MAP || v->type == TPC_NULL
               ? 0
               : wrong(err, member, "is not an object");
}
