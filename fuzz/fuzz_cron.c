/* Reads any text as a cron expression and asks for its next times in a zone with summer time: they
 * rise, and the search for what never comes ends. */
#include "calendar/cron.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str text = { (const char *) data, size };
    struct tpc_error err = { 0 };
    struct tpi_cron cron;
    struct tpi_zone *zone = NULL;
    if (tpi_cron_parse(text, &err, &cron) != 0) {
        if (err.line == 0 || err.column == 0 || err.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    if (tpi_zone_posix(NULL, TPC_STR("CET-1CEST,M3.5.0,M10.5.0/3"), NULL, &zone) != 0) {
        return 0;
    }
    /* An hour before the clock is set forward, and before it is set back. */
    static const int64_t from[] = { 1774742400000, 1792886400000, -62135596800000 };
    for (int i = 0; i < 3; i++) {
        int64_t last = from[i];
        int64_t at;
        for (int n = 0; n < 20 && tpi_cron_next(&cron, zone, last, &at); n++) {
            if (at <= last) {
                abort();
            }
            last = at;
        }
    }
    tpi_zone_destroy(zone);
    return 0;
}
