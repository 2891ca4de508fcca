/*
 * Targets of requests and the patterns that match them: pure, no socket and no library. A path is split
 * before it is decoded, so an escaped '/' is part of a level and never a border.
 */
#ifndef HS_ROUTE_H
#define HS_ROUTE_H

#include <stdbool.h>
#include <tpcore/bytes.h>
#include <tpcore/ext/http.h>

enum {
    HS_LEVELS_MAX = 32,  /* of a path */
    HS_PATTERN_MAX = 16, /* levels of a pattern */
    HS_QUERY_MAX = 64    /* parts of a query */
};

/* A path that was decoded; the views are of the caller's room. */
struct hs_path {
    struct tpc_str text; /* "/a/b" */
    uint32_t count;
    struct tpc_str levels[HS_LEVELS_MAX]; /* "a", "b"; of "/" one that is empty */
};

enum hs_level_kind { HS_LITERAL, HS_NAME, HS_REST };

struct hs_level {
    struct tpc_str text; /* the literal, or the name */
    enum hs_level_kind kind;
};

struct hs_pattern {
    uint32_t count;
    uint32_t names;
    uint32_t begin;   /* literal bytes at its beginning */
    uint32_t literal; /* literal bytes of all of it */
    struct hs_level levels[HS_PATTERN_MAX];
};

/* The target of a request line: "/path?query" or "http://host/path?query" (RFC 9112 section 3.2). */
void hs_target_split(struct tpc_str target, struct tpc_str *ret_path, struct tpc_str *ret_query);

/* Decodes a path into room for raw.len bytes. TPC_EINVAL: it does not begin with '/', an escape is
 * broken, a level is "." or "..", it has a control byte or is no UTF-8 (overlong forms are none), or
 * has too many levels. */
int hs_path_read(struct tpc_str raw, char *room, struct hs_path *ret);

/* Decodes a query into room for raw.len bytes; '+' is a blank, an escape that is broken stands for itself,
 * for the platform above sends raw texts. TPC_EINVAL: a NUL, no UTF-8, or more than HS_QUERY_MAX. */
int hs_query_read(struct tpc_str raw, char *room, struct tpc_http_header *ret, uint32_t *ret_count);

/* The text must outlive the pattern. TPC_EINVAL: *ret_why says what is wrong. */
int hs_pattern_read(const char *text, struct hs_pattern *ret, const char **ret_why);

/* Whether the path is matched; then the names and what they matched stand in ret[p->names]. */
bool hs_pattern_match(const struct hs_pattern *p, const struct hs_path *path,
                      struct tpc_http_header *ret);

/* < 0: a is asked before b, for it says more. */
int hs_pattern_order(const struct hs_pattern *a, const struct hs_pattern *b);

/* Whether both match the same paths. */
bool hs_pattern_same(const struct hs_pattern *a, const struct hs_pattern *b);

#endif
