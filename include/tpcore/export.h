/*
 * Linkage of the public interface.
 *
 * TPC_API marks each function that libtpcore exports. The same sources, built into libtpcore-ext.a
 * for modules, keep every name hidden, so that a module never exports or overrides a function of
 * the program that loads it.
 */
#ifndef TPCORE_EXPORT_H
#define TPCORE_EXPORT_H

#ifdef TPC_EXT_BUILD
#define TPC_API __attribute__((visibility("hidden")))
#else
#define TPC_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define TPC_BEGIN extern "C" {
#define TPC_END }
#else
#define TPC_BEGIN
#define TPC_END
#endif

#if defined(__GNUC__)
#define TPC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define TPC_PRINTF(fmt, args)
#endif

#endif
