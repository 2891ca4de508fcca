#include "base/alloc.h"
#include "base/error.h"
#include "server.h"

#include <stdio.h>
#include <string.h>

enum { SERVED_MAX = 4096 };

static bool method_good(const char *method)
{
    size_t n = 0;
    while (method != NULL && n < 16 && method[n] >= 'A' && method[n] <= 'Z') {
        n++;
    }
    return n > 0 && n < 16 && method[n] == '\0';
}

/* The place of a pattern in the table. */
static uint32_t place_of(const struct hs_server *s, const struct hs_pattern *p)
{
    uint32_t i = 0;
    while (i < s->served_count && hs_pattern_order(&s->served[i]->pattern, p) <= 0) {
        i++;
    }
    return i;
}

static bool is_served(const struct hs_server *s, const struct hs_served *v)
{
    for (uint32_t i = 0; i < s->served_count; i++) {
        if (strcmp(s->served[i]->route->method, v->route->method) == 0 &&
            hs_pattern_same(&s->served[i]->pattern, &v->pattern)) {
            return true;
        }
    }
    return false;
}

static int room_for_one(struct hs_server *s)
{
    if (s->served_count < s->served_cap) {
        return 0;
    }
    uint32_t cap = s->served_cap == 0 ? 16 : s->served_cap * 2;
    void *more = cap <= SERVED_MAX ? tpi_resize(s->host->allocator, s->served,
                                                s->served_cap * sizeof(struct hs_served *),
                                                cap * sizeof(struct hs_served *))
                                   : NULL;
    if (more == NULL) {
        return TPC_ENOMEM;
    }
    s->served = more;
    s->served_cap = cap;
    return 0;
}

void hs_served_unref(struct hs_server *s, struct hs_served *v)
{
    if (v != NULL && --v->refs == 0) {
        tpi_free(s->host->allocator, v, sizeof(*v));
    }
}

/* Takes the routes of a set out of the table. */
static void take_out(struct hs_server *s, uint64_t set)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->served_count; i++) {
        struct hs_served *v = s->served[i];
        if (v->set != set) {
            s->served[kept++] = v;
        } else {
            v->gone = true;
            hs_served_unref(s, v);
        }
    }
    s->served_count = kept;
}

static int add_one(struct hs_server *s, const struct tpc_http_route *route, void *user,
                   uint64_t set, struct tpc_error *err)
{
    const char *why = "a method is upper case letters";
    struct hs_served *v = tpi_alloc_zero(s->host->allocator, sizeof(*v));
    if (v == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "http", "no memory for a route");
    }
    v->set = set;
    v->route = route;
    v->user = user;
    v->refs = 1;
    v->id = ++s->next_route;
    int rc = TPC_EINVAL;
    if (!method_good(route->method) || route->path == NULL || route->fn == NULL) {
        why = route->fn == NULL ? "it has no function" : why;
    } else {
        rc = hs_pattern_read(route->path, &v->pattern, &why);
    }
    if (rc != 0) {
        rc = tpi_error_set(err, rc, "http", "route %s %s: %s",
                           route->method != NULL ? route->method : "",
                           route->path != NULL ? route->path : "", why);
    } else if (is_served(s, v)) {
        rc = tpi_error_set(err, TPC_EEXIST, "http", "route %s %s is served already", route->method,
                           route->path);
    } else if (room_for_one(s) != 0) {
        rc = tpi_error_set(err, TPC_ENOMEM, "http", "no memory for a route");
    }
    if (rc != 0) {
        hs_served_unref(s, v);
        return rc;
    }
    uint32_t at = place_of(s, &v->pattern);
    memmove(s->served + at + 1, s->served + at, (s->served_count - at) * sizeof(*s->served));
    s->served[at] = v;
    s->served_count++;
    return 0;
}

int hs_add(void *self, const struct tpc_list *routes, void *user, struct tpc_error *err,
           uint64_t *ret_id)
{
    struct hs_server *s = self;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    uint64_t set = ++s->next_set;
    for (uint32_t i = 0; rc == 0 && i < routes->count; i++) {
        rc = add_one(s, TPC_LIST_AT(struct tpc_http_route, *routes, i), user, set, err);
    }
    if (rc != 0) {
        take_out(s, set);
    }
    pthread_mutex_unlock(&s->lock);
    if (rc == 0) {
        *ret_id = set;
    }
    return rc;
}

/* A request of the set that waits for reply(), or NULL. */
static struct hs_request *waiting_of(struct hs_server *s, uint64_t set)
{
    size_t at = 0;
    uint64_t id;
    void *value;
    while (tpi_map64_next(&s->calls, &at, &id, &value)) {
        struct hs_request *r = value;
        if (r->served->set == set) {
            return r;
        }
    }
    return NULL;
}

void hs_remove(void *self, uint64_t id)
{
    struct hs_server *s = self;
    struct hs_request *r, *over = NULL;
    pthread_mutex_lock(&s->lock);
    take_out(s, id);
    while (s->running_set == id) {
        pthread_cond_wait(&s->quiet, &s->lock);
    }
    while ((r = waiting_of(s, id)) != NULL) {
        (void) tpi_map64_remove(&s->calls, r->id);
        r->id = 0;
        hs_give_up(r, 503, "the route is gone");
        if (r->conn == NULL && !r->claimed) { /* the route was the last that had it */
            r->next = over;
            over = r;
        }
    }
    if (s->running) {
        hs_wake(s);
    }
    while (over != NULL) {
        r = over;
        over = r->next;
        hs_recycle(r);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Adds a method to "A, B" if it is not there. */
static void allow(char ret_allow[128], const char *method)
{
    size_t used = strlen(ret_allow);
    size_t n = strlen(method);
    for (const char *at = strstr(ret_allow, method); at != NULL; at = strstr(at + 1, method)) {
        if ((at == ret_allow || at[-1] == ' ') && (at[n] == ',' || at[n] == '\0')) {
            return;
        }
    }
    if (used + n + 3 < 128) {
        (void) snprintf(ret_allow + used, 128 - used, "%s%s", used > 0 ? ", " : "", method);
    }
}

struct hs_served *hs_served_find(struct hs_server *s, struct tpc_str method,
                                 const struct hs_path *path, struct tpc_http_header *params,
                                 char ret_allow[128])
{
    struct hs_served *found = NULL;
    bool head = tpc_str_equal(method, TPC_STR("HEAD")) != 0;
    ret_allow[0] = '\0';
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; found == NULL && i < s->served_count; i++) {
        struct hs_served *v = s->served[i];
        struct tpc_str own = tpc_str_from(v->route->method);
        if (!hs_pattern_match(&v->pattern, path, params)) {
            continue;
        }
        bool get = tpc_str_equal(own, TPC_STR("GET")) != 0;
        if (tpc_str_equal(own, method) || (head && get)) {
            found = v;
            v->refs++;
            v->requests++;
        } else {
            allow(ret_allow, v->route->method);
            if (get) {
                allow(ret_allow, "HEAD");
            }
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void hs_table_tell(struct hs_server *s, tpc_tell_fn *fn, void *user)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->served_count; i++) {
        const struct hs_served *v = s->served[i];
        const struct tpc_label labels[] = {
            { TPC_STR("method"), tpc_str_from(v->route->method) },
            { TPC_STR("route"), tpc_str_from(v->route->path) },
        };
        struct tpc_tell t = { .size = sizeof(t),
                              .metric = "route_requests",
                              .help = "Requests that a route was given",
                              .labels = labels,
                              .label_count = 2,
                              .value = (double) v->requests };
        fn(user, &t);
        t.metric = "route_failures";
        t.help = "Of them, those answered with a status of 500 or more";
        t.value = (double) v->failed;
        fn(user, &t);
    }
    pthread_mutex_unlock(&s->lock);
}

void hs_table_fini(struct hs_server *s)
{
    for (uint32_t i = 0; i < s->served_count; i++) {
        hs_served_unref(s, s->served[i]);
    }
    tpi_free(s->host->allocator, s->served, s->served_cap * sizeof(*s->served));
    s->served = NULL;
    s->served_count = 0;
    s->served_cap = 0;
}
