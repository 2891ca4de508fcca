/* Versions of a product's model: see publish.c. */
#ifndef TPI_REGISTRY_PUBLISH_H
#define TPI_REGISTRY_PUBLISH_H

#include "registry/registry.h"

/* Kind of the rows of TPC_SPACE_META: an array of {version, published_unix_ms, revision, hash, model},
 * the model of the oldest left out where all would take more than 1 MiB. */
#define TPI_PUBLISH_KIND "model_versions"

/* Key of a product's row. cap: 24. */
void tpi_publish_key(uint64_t product_id, char *text, size_t cap, struct tpc_str *ret);

/* Sets p's published, model_version and model_hash. Returns 0 or TPC_ENOMEM. */
int tpi_publish_read(const struct tpi_change *change, struct tpi_product *p, struct tpc_error *err);

/* In prepare: whether the product may have this model, and the row that tells. old may be NULL.
 * Returns 0, TPC_ESTATE, TPC_ETOOBIG, TPC_ECORRUPT, TPC_ENOMEM or what the store says. */
int tpi_publish_prepare(struct tpi_change *change, const struct tpi_product *old,
                        const struct tpi_product *p, struct tpc_error *err);

/* In prepare of a deletion: the row goes, too. */
int tpi_publish_forget(struct tpi_change *change, struct tpc_error *err);

#endif
