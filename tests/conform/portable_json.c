/* The reader as machines have it whose instructions it does not know. */
#define TPI_SCAN_PORTABLE
#define tpi_direct_json portable_direct_json
#define tpi_direct_cbor portable_direct_cbor
#include "../../lib/model/direct_json.c"
