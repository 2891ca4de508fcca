/*
 * What the platform answers a service: the envelope {"code","message","data"}, which comes with HTTP
 * status 200 whatever it says, and the devices in it. Pure.
 */
#ifndef THINGSPANEL_REPLY_H
#define THINGSPANEL_REPLY_H

#include "devices.h"
#include "forms.h"

enum tp_verdict {
    TP_REPLY_OK,
    TP_REPLY_NO,      /* what was asked for is not there, or refused: asking again is no use */
    TP_REPLY_LATER,   /* no answer, or one that may be another soon */
    TP_REPLY_LIMITED, /* asked too often */
    TP_REPLY_OPERATOR /* somebody has to set something right */
};

struct tp_reply {
    enum tp_verdict verdict;
    int code;                     /* of the envelope; else the HTTP status or a TPC_E code */
    struct tpc_str message;       /* for people; may be empty */
    const struct tpc_value *data; /* NULL = none */
};

/* What a code of the envelope means for who asked. */
enum tp_verdict tp_reply_judge(int64_t code);

/* Reads an answer. failed: a TPC_E code if none came, else 0. Never fails: what is no answer is
 * TP_REPLY_LATER with the reason in message. Views are into arena and body. */
void tp_reply_read(int failed, uint32_t status, struct tpc_bytes body, struct tpc_arena *arena,
                   struct tp_reply *ret);

/*
 * A device as the calls give it: {"id" or "device_id","voucher","device_type","device_number","config",
 * "protocol_config_template", ..}, or a row of an access point. Vouchers come out as tp_form_voucher()
 * has them; what is no JSON object stays as it is. Returns 0, TPC_EINVAL (it is none) or TPC_ENOMEM.
 */
int tp_reply_facts(const struct tpc_value *v, const struct tp_forms *forms, struct tpc_arena *arena,
                   struct tp_facts *ret);

/* The devices behind it; NULL = none are named. */
const struct tpc_value *tp_reply_behind(const struct tpc_value *v);

#endif
