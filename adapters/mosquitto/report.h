/* What was refused, as it is published for the platform on TPC_WHY_TOPIC. */
#ifndef MOSQUITTO_REPORT_H
#define MOSQUITTO_REPORT_H

#include <stddef.h>
#include <tpcore/why.h>

enum { REPORT_BYTES = 1536 }; /* all texts at their longest, each character escaped */

/* One failure as JSON. Returns its length, 0 if it does not fit. */
size_t report_write(const struct tpc_why *why, char ret[REPORT_BYTES]);

#endif
