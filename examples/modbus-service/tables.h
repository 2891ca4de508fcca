/* What the platform holds of a Modbus slave, as an element of `slaves` of the adapter modbus. */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <tpcore/service.h>

typedef void tables_say_fn(const char *device, const char *what);

/*
 * By the table CommandRawList of the device, else of its template; the unit is SlaveID, else the address.
 * Lines that cannot be are told to `say` and left out. Returns JSON text, for free(); NULL: nothing is
 * left to ask, or out of memory.
 */
char *tables_slave(const struct tpc_service_device *d, tables_say_fn *say);

/* ax + b of an equation with one name in it ("temp*0.1+5"). False: it is none, or not linear. */
bool tables_linear(struct tpc_str equation, double *ret_a, double *ret_b);

#endif
