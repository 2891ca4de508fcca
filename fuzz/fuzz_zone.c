/* Reads any bytes as a TZif file, and as a POSIX rule if the first of them is 'P'. What is read
 * answers every moment, and local times lead back to it. */
#include "calendar/cron.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct tpi_zone *zone, int64_t t)
{
    struct tpi_zone_span span;
    tpi_zone_span(zone, t, &span);
    if (t > TPI_TIME_MIN_S && t < TPI_TIME_MAX_S && (t < span.from_s || t >= span.to_s)) {
        abort();
    }
    struct tpi_local_unix u;
    tpi_zone_unix(zone, tpi_zone_local(zone, t), &u);
    if (u.first_s > u.second_s || (u.kind == TPI_LOCAL_ONCE && u.first_s != u.second_s)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t times[] = { INT64_MIN,  TPI_TIME_MIN_S, -2208988800, -1,
                                     0,          1774746000,     1792890000,  2147483648,
                                     4102444800, TPI_TIME_MAX_S, INT64_MAX };
    struct tpi_zone *zone = NULL;
    struct tpi_cron cron;
    int64_t at;
    int rc = size > 0 && data[0] == 'P'
                 ? tpi_zone_posix(NULL, (struct tpc_str){ (const char *) data + 1, size - 1 }, NULL,
                                  &zone)
                 : tpi_zone_decode(NULL, (struct tpc_bytes){ data, size }, NULL, &zone);
    if (rc != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        look(zone, times[i]);
    }
    int64_t last = 1774742400000;
    if (tpi_cron_parse(TPC_STR("30 2 * * *"), NULL, &cron) != 0) {
        abort();
    }
    for (int n = 0; n < 10 && tpi_cron_next(&cron, zone, last, &at); n++) {
        if (at <= last) {
            abort();
        }
        last = at;
    }
    tpi_zone_destroy(zone);
    return 0;
}
