/*
 * The built-in codecs, and ThingsPanel's envelope around a payload.
 *
 *   json         flat object key -> value
 *   thingspanel  json plus ThingsPanel's shapes: what is no object is wrapped as "_raw"
 *   alink        envelope {requestId, method, params | code, data, msg}
 *   cbor         as json, in CBOR
 *   thingsboard  what ThingsBoard's devices and gateways say, by the topic
 *
 * None has options, state or an instance (instance_size 0: self may be NULL); worker is not looked
 * at; all functions are any-thread. A product's codec member is the name or {"type": name}.
 */
#ifndef TPI_CODEC_CODEC_H
#define TPI_CODEC_CODEC_H

#include <tpcore/ext/codec.h>

extern const struct tpc_codec_ops tpi_codec_json;
extern const struct tpc_codec_ops tpi_codec_thingspanel;
extern const struct tpc_codec_ops tpi_codec_alink;
extern const struct tpc_codec_ops tpi_codec_cbor;
extern const struct tpc_codec_ops tpi_codec_thingsboard;

/* The built-in codec of that name, or NULL. */
const struct tpc_codec_ops *tpi_codec_builtin(struct tpc_str name);

/* Name of the codec that a product's codec member asks for: the text itself, or "type" of a map.
 * Returns 0 or TPC_EINVAL (path "type" where it is the map's). */
int tpi_codec_name(const struct tpc_value *config, struct tpc_error *err, struct tpc_str *ret);

/*
 * Takes ThingsPanel's envelope {"device_id": "..", "values": ..} off (contract thingspanel 1.2, 2).
 * values: base64 text (strict, padded), an object (its bytes as they stand) or an array of byte
 * numbers. Other members are passed over; device_id and values must be there and not empty.
 *
 * Returns 0, TPC_EDECODE or TPC_ENOMEM. Results live in payload or in the arena.
 */
int tpi_codec_unwrap(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpc_str *ret_device_id, struct tpc_bytes *ret_values);

/*
 * device_id of the envelope without unwrapping: reads up to the member and no further, allocates
 * nothing. Returns 0, TPC_EDECODE, or TPC_EUNSUPPORTED for an id that is written with escapes
 * (unwrap takes those). The id points into payload.
 */
int tpi_codec_peek_device(struct tpc_bytes payload, struct tpc_str *ret_device_id);

#endif
