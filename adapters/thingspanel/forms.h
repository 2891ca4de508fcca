/*
 * Forms of the platform's user interface, as a service gives them: checked once, served as they are, and
 * used to read what people filled in. Pure: nothing here knows a connection.
 */
#ifndef THINGSPANEL_FORMS_H
#define THINGSPANEL_FORMS_H

#include "base/buf.h"

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/service.h>

enum {
    TP_FORMS_MAX = 16,         /* forms of a service */
    TP_FORM_BYTES = 256 << 10, /* text of one */
    TP_FORM_ELEMENTS = 256,    /* of one array */
    TP_FORM_OPTIONS = 4096,    /* of a select */
    TP_FORM_NAME = 128,        /* bytes of a dataKey */
    TP_FORM_DEPTH = 4,         /* tables inside tables */
    TP_VOUCHER_BYTES = 4096    /* text of a voucher */
};

enum tp_form_kind { TP_FORM_CFG, TP_FORM_VCR, TP_FORM_VCRT, TP_FORM_SVCR };

struct tp_form {
    enum tp_form_kind kind;
    char device_type;       /* '1'..'3'; 0 = all */
    struct tpc_value value; /* an array of elements; of VCRT a map label -> key */
};

struct tp_forms {
    struct tpc_arena *arena; /* of the values */
    struct tp_form list[TP_FORMS_MAX];
    uint32_t count;
};

/* Checks and keeps forms (struct tpc_service_form); *f is zero before. On failure nothing is kept. Returns
 * 0, TPC_EINVAL (err's path: "forms[VCR][1].array[2].type"), TPC_EDECODE (no JSON), TPC_ETOOBIG,
 * TPC_EEXIST (two for the same) or TPC_ENOMEM. */
int tp_forms_read(struct tp_forms *f, const struct tpc_allocator *alloc,
                  const struct tpc_list *given, struct tpc_error *err);
void tp_forms_fini(struct tp_forms *f);

/* The form of a kind ("CFG" ..) for a device type ("1", empty), or that for all; NULL if there is none. */
const struct tpc_value *tp_forms_find(const struct tp_forms *f, struct tpc_str kind,
                                      struct tpc_str device_type);

/* Whether it is one of the four. */
bool tp_form_kind_known(struct tpc_str kind);

/*
 * A voucher as the platform keeps it, which compares bytes: JSON without blanks, members in the order of
 * the form VCR that has them all (of several the first), else in their own. Returns 0, TPC_EDECODE (no
 * JSON object), TPC_ETOOBIG or TPC_ENOMEM; out may then have more than before.
 */
int tp_form_voucher(const struct tp_forms *f, struct tpc_str text, struct tpc_arena *arena,
                    struct tpi_buf *out);

/*
 * Values as the form means them: numbers that came as text become numbers, and so on; what cannot be
 * turned stays as it is, and so does what the form has not. in may be text that holds a JSON object.
 * *ret is a map, or TPC_NULL if in is neither. Returns 0 or TPC_ENOMEM. The answer lives in the arena and
 * in `in`.
 */
int tp_form_coerce(const struct tpc_value *form, const struct tpc_value *in,
                   struct tpc_arena *arena, struct tpc_value *ret);

#endif
