/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), by the processor's instruction where it has one.
 */
#ifndef TPI_BASE_CRC32C_H
#define TPI_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc is 0 at first, later the value so far: the CRC of a text in pieces is that of the whole. */
uint32_t tpi_crc32c(uint32_t crc, const void *p, size_t n);

/* The same by tables alone: what a processor without the instruction runs. */
uint32_t tpi_crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
