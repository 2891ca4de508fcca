/*
 * The program around a connectivity service: configuration, parts, signals, and ways to try a protocol
 * without a device. What it does with the library is service_run() in service.c: six calls.
 *
 *   PROGRAM [--check] [--quiet] CONFIG.yaml
 *   PROGRAM --hex TEXT | FILE       frames as hexadecimal digits: what they mean
 *   PROGRAM --pcap FILE [--port N]  the same of TCP streams of a capture
 *   PROGRAM --try                   with a stand-in for the platform and a simulated device
 */
#ifndef EXAMPLES_SERVICE_H
#define EXAMPLES_SERVICE_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/tpcore.h>

/* The whole program. The functions of ops get the core as user, NULL while frames are tried. */
int service_main(int argc, char **argv, const struct tpc_service_ops *ops);

/* The same for one whose functions leave work for the main thread: turn is called when fd is readable. */
int service_main_turns(int argc, char **argv, const struct tpc_service_ops *ops, int fd,
                       void (*turn)(struct tpc_core *core));

/* Frames of a capture or of digits through frame() and decode(), printed. 0; 1 = something is not
 * understood; 2 = no such input. */
int service_try_hex(const struct tpc_service_ops *ops, const char *text_or_file);
int service_try_pcap(const struct tpc_service_ops *ops, const char *file, unsigned int port);

/* ---- what protocols are made of ---- */

/* A number of so many bytes, the highest first; none = 0. */
static inline uint32_t service_number(const uint8_t *p, int bytes)
{
    uint32_t n = 0;
    for (int i = 0; i < bytes; i++) {
        n = n << 8 | p[i];
    }
    return n;
}

/* Sum of bytes, modulo 256. */
static inline uint8_t service_sum(const uint8_t *p, size_t n)
{
    unsigned int sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += p[i];
    }
    return (uint8_t) sum;
}

/* Voucher {"key":"value"}. Returns 0; TPC_EDENIED: a byte that no serial number has; TPC_ETOOBIG. */
int service_voucher(struct tpc_buf *out, const char *key, struct tpc_str value);

/* tpc_reading_device() of an address that is a number; 0 = the device itself. */
int service_device(struct tpc_reading *r, unsigned int address);

/* Address of whom a command is for, as a number below 256; 0 = the device itself, -1 = it has an address that
 * is no such number. */
int service_address(const struct tpc_encode *command);

/* Whether a command is that one; *ret = its parameter, -1 if that is missing or is no number. */
bool service_param(const struct tpc_encode *command, const char *name, const char *key,
                   int64_t *ret);

/* A number among the settings of a device, or else of its template. False: there is none. */
bool service_setting(const struct tpc_service_device *device, const char *key, int64_t *ret);

/* Sends a command with one number, if the device comes within a minute. */
void service_command(struct tpc_core *core, struct tpc_str device, const char *name,
                     const char *key, int64_t value);

/* tpc_reading_event() with one number. */
int service_event(struct tpc_reading *r, const char *name, const char *key, int64_t value);

#endif
