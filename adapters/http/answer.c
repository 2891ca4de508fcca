#include "base/alloc.h"
#include "server.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <tpcore/json.h>

enum { SMALL = 1024 };

/* A body in memory that goes with the response. */
struct held {
    const struct tpc_allocator *alloc;
    size_t size;
    uint8_t bytes[];
};

static void free_held(void *cls)
{
    struct held *h = cls;
    tpi_free(h->alloc, h, h->size);
}

/* The library keeps a view of what is not const there. */
static struct MHD_Response *copied(const void *p, size_t n)
{
    return MHD_create_response_from_buffer(n, (void *) (uintptr_t) p, MHD_RESPMEM_MUST_COPY);
}

static struct MHD_Response *from_json(const struct tpc_allocator *alloc, const struct tpc_value *v,
                                      int *ret_code, size_t *ret_bytes)
{
    uint8_t small[SMALL];
    struct tpc_buf buf = { small, sizeof(small), 0 };
    int rc = tpc_json_write(v, 0, &buf);
    *ret_bytes = buf.need;
    if (rc == 0) {
        *ret_code = TPC_ENOMEM;
        return copied(small, buf.need);
    }
    *ret_code = rc == TPC_ETOOBIG ? TPC_ENOMEM : rc;
    struct held *h = rc == TPC_ETOOBIG ? tpi_alloc(alloc, sizeof(*h) + buf.need) : NULL;
    if (h == NULL) {
        return NULL;
    }
    h->alloc = alloc;
    h->size = sizeof(*h) + buf.need;
    buf.ptr = h->bytes;
    buf.cap = buf.need;
    struct MHD_Response *m = NULL;
    if (tpc_json_write(v, 0, &buf) == 0) {
        m = MHD_create_response_from_buffer_with_free_callback_cls(buf.need, h->bytes, free_held,
                                                                   h);
    }
    if (m == NULL) {
        free_held(h);
    }
    return m;
}

static bool framing(struct tpc_str name)
{
    static const char *const names[] = {
        "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",
        "Upgrade",        "Trailer",           "TE",         "Date"
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (name.len == strlen(names[i]) && strncasecmp(name.ptr, names[i], name.len) == 0) {
            return true;
        }
    }
    return false;
}

/* Adds a header; io_room bytes are left for it. */
static int put_header(struct MHD_Response *m, const struct tpc_http_header *h, size_t *io_room)
{
    char line[HS_ANSWER_HEAD_MAX];
    if (!hs_name_good(h->name) || !hs_value_good(h->value) || framing(h->name) ||
        h->name.len + h->value.len + 4 > *io_room) {
        return TPC_EINVAL;
    }
    *io_room -= h->name.len + h->value.len + 4;
    memcpy(line, h->name.ptr, h->name.len);
    line[h->name.len] = '\0';
    char *value = line + h->name.len + 1;
    if (h->value.len > 0) {
        memcpy(value, h->value.ptr, h->value.len);
    }
    value[h->value.len] = '\0';
    if (h->value.len == 0) {
        return 0; /* the library has no empty headers, and nobody needs one */
    }
    return MHD_add_response_header(m, line, value) == MHD_YES ? 0 : TPC_ENOMEM;
}

static int build(const struct tpc_allocator *alloc, const struct tpc_http_answer *a,
                 struct MHD_Response **ret, size_t *ret_bytes)
{
    int rc = TPC_ENOMEM;
    bool json = a->json != NULL;
    const void *body = a->body.len > 0 ? (const void *) a->body.ptr : "";
    *ret_bytes = a->body.len;
    struct MHD_Response *m =
        json ? from_json(alloc, a->json, &rc, ret_bytes) : copied(body, a->body.len);
    if (m == NULL) {
        return rc;
    }
    size_t room = HS_ANSWER_HEAD_MAX;
    struct tpc_str type = a->content_type;
    if (type.len == 0 && (json || a->body.len > 0)) {
        type = TPC_STR("application/json");
    }
    rc = 0;
    if (type.len > 0) {
        struct tpc_http_header h = { TPC_STR("Content-Type"), type };
        rc = put_header(m, &h, &room);
    }
    for (uint32_t i = 0; rc == 0 && i < a->headers.count; i++) {
        rc = put_header(m, TPC_LIST_AT(struct tpc_http_header, a->headers, i), &room);
    }
    if (rc != 0) {
        MHD_destroy_response(m);
        return rc;
    }
    *ret = m;
    return 0;
}

struct MHD_Response *hs_plain(uint32_t status, const char *text, const char *name,
                              const char *value)
{
    uint8_t room[SMALL];
    struct tpc_member members[] = {
        { .key = TPC_STR("status"), .value = { .type = TPC_INT } },
        { .key = TPC_STR("error"), .value = { .type = TPC_TEXT } },
    };
    members[0].value.as.i = (int64_t) status;
    members[1].value.as.text = text;
    members[1].value.len = strlen(text);
    struct tpc_value map = { .type = TPC_MAP, .len = 2 };
    map.as.members = members;
    struct tpc_buf buf = { room, sizeof(room), 0 };
    if (tpc_json_write(&map, 0, &buf) != 0) {
        buf.need = 0;
    }
    struct MHD_Response *m = copied(room, buf.need);
    if (m != NULL && (MHD_add_response_header(m, "Content-Type", "application/json") != MHD_YES ||
                      (name != NULL && MHD_add_response_header(m, name, value) != MHD_YES))) {
        MHD_destroy_response(m);
        m = NULL;
    }
    return m;
}

/* The answer is there: its connection goes on. With the lock held. Returns whether to wake the thread. */
static bool ready(struct hs_request *r)
{
    struct hs_server *s = r->server;
    if (r->conn == NULL || !r->suspended || !s->running) {
        return false;
    }
    bool first = s->ready == NULL;
    r->next = s->ready;
    s->ready = r;
    return first;
}

void hs_give_up(struct hs_request *r, uint32_t status, const char *text)
{
    if (r->answered || r->over) {
        return;
    }
    r->over = true;
    r->answered = true;
    r->status = status;
    r->response = r->conn != NULL ? hs_plain(status, text, NULL, NULL) : NULL;
    (void) ready(r);
}

/* reply() has its answer; with the lock held. */
static int settle(struct hs_request *r, struct MHD_Response *m, uint32_t status, size_t bytes)
{
    struct hs_server *s = r->server;
    r->claimed = false;
    if (r->over || r->conn == NULL) {
        if (m != NULL) {
            MHD_destroy_response(m);
        }
        if (r->conn == NULL) {
            hs_recycle(r);
        }
        return TPC_ENOENT;
    }
    r->answered = true;
    r->response = m;
    r->status = status;
    r->answer_bytes = bytes;
    if (ready(r)) {
        hs_wake(s);
    }
    return 0;
}

/* Whether so many bytes more may be held; hs_recycle() gives them back. */
static bool charge(struct hs_server *s, size_t bytes)
{
    if (atomic_fetch_add(&s->answers, bytes) + bytes <= s->limits.answers_max) {
        return true;
    }
    atomic_fetch_sub(&s->answers, bytes);
    hs_count(s, "refused_answers", 1);
    return false;
}

int hs_reply(void *self, uint64_t call, const struct tpc_http_answer *answer)
{
    struct hs_server *s = self;
    if (answer == NULL || answer->status < 200 || answer->status > 599) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&s->lock);
    struct hs_request *r = tpi_map64_get(&s->calls, call);
    if (r != NULL && (r->over || r->conn == NULL)) {
        (void) tpi_map64_remove(&s->calls, call);
        r->id = 0;
        if (r->conn == NULL) {
            hs_recycle(r);
        }
        r = NULL;
    }
    if (r == NULL || r->claimed) {
        pthread_mutex_unlock(&s->lock);
        return TPC_ENOENT;
    }
    r->claimed = true;
    pthread_mutex_unlock(&s->lock);

    struct MHD_Response *m = NULL;
    size_t bytes = 0;
    uint32_t status = answer->status;
    int rc = build(s->host->allocator, answer, &m, &bytes);
    bool charged = rc == 0 && charge(s, bytes);
    if (rc == 0 && !charged) {
        MHD_destroy_response(m);
        rc = TPC_ENOMEM;
        bytes = 0;
        status = 503;
        m = hs_plain(status, "too many answers are held", "Retry-After", "1");
    }

    pthread_mutex_lock(&s->lock);
    r->answer_charged = charged ? bytes : 0;
    if (rc == TPC_EINVAL && r->id != 0) {
        r->claimed = false; /* the caller may do better */
    } else {
        if (r->id != 0) {
            (void) tpi_map64_remove(&s->calls, call);
            r->id = 0;
        }
        int settled = settle(r, m, status, bytes);
        rc = rc != 0 ? rc : settled;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

enum MHD_Result hs_queue(struct hs_request *r, struct MHD_Connection *mhd,
                         struct MHD_Response *response)
{
    struct hs_server *s = r->server;
    r->queued = true;
    r->response = NULL;
    if (response == NULL) {
        hs_count(s, "no_memory", 1);
        return MHD_NO;
    }
    if (r->close || s->drain_end_ms != 0) {
        (void) MHD_add_response_header(response, "Connection", "close");
    }
    enum MHD_Result done = MHD_queue_response(mhd, r->status, response);
    MHD_destroy_response(response);
    if (r->conn != NULL) {
        hs_stage_set(r->conn, HS_SEND, s->limits.send_ms);
    }
    return done;
}
