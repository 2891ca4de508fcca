/*
 * Module "smtp": a sink that sends messages and notifications as mails, by libcurl on a thread of its
 * own (adapters/curl).
 */
#include "mail.h"

#include "../curl/xfer.h"
#include "../sink/turn.h"
#include "../text/say.h"
#include "../text/utc.h"
#include "../tls/options.h"

#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/version.h>

#include "base/error.h"
#include "data/member.h"

enum { QUEUE = 1024, REPLY_MAX = 140, ANSWER_S = 30 /* to one command */ };

static const struct tpc_option smtp_options[] = {
    { .name = "url",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = 280,
      .since = "0.1",
      .help = "smtp://host[:587] or smtps://host[:465]" },
    { .name = "from",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 3,
      .max = MAIL_ADDRESS_MAX,
      .since = "0.1",
      .help = "address of the sender" },
    { .name = "from_name",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 39,
      .since = "0.1",
      .help = "name beside it" },
    { .name = "user",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 256,
      .since = "0.1",
      .help = "to log in with" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "of user" },
    { .name = "starttls",
      .type = TPC_OPT_ENUM,
      .def = "required",
      .values = "required|try|off",
      .since = "0.1",
      .help = "smtp: whether the connection must become TLS" },
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TLS_OPTION_SUB,
      .since = "0.1",
      .help = "files, and whether the server is checked" },
    { .name = "helo",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 40,
      .since = "0.1",
      .help = "name for EHLO; absent = the machine's" },
    { .name = "max_connections",
      .type = TPC_OPT_UINT,
      .def = "2",
      .min = 1,
      .max = 32,
      .since = "0.1",
      .help = "mails that are sent at once" },
    { .name = "connect_timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 10,
      .max = 600000,
      .since = "0.1",
      .help = "name lookup and connection" },
    { .name = "timeout",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .min = 10,
      .max = 600000,
      .since = "0.1",
      .help = "a whole mail" },
};

static const struct tpc_option to_item = { .type = TPC_OPT_TEXT,
                                           .min = 3,
                                           .max = MAIL_ADDRESS_MAX };

static const struct tpc_option target_options[] = {
    { .name = "to",
      .type = TPC_OPT_LIST,
      .flags = TPC_OPT_REQUIRED,
      .elem = &to_item,
      .min = 1,
      .max = MAIL_TO_MAX,
      .since = "0.1",
      .help = "addresses; all must be taken by the server" },
    { .name = "subject",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = MAIL_SUBJECT_MAX,
      .since = "0.1",
      .help = "absent = the notification's subject, else device and kind" },
    { .name = "batch",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "true: one mail for each batch, a line for each message" },
    { .name = "body_max",
      .type = TPC_OPT_SIZE,
      .def = "256KiB",
      .min = 1024,
      .max = 16 << 20,
      .since = "0.1",
      .help = "largest mail; what is larger is refused" },
};

struct smtp {
    struct turns turns; /* first */
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    struct xfer_loop *loop;
    struct xfer_settings settings;
    char url[MAIL_URL_MAX];
    struct tpc_str from, from_name;
    const char *envelope; /* <from> */
    long starttls;        /* CURLUSESSL_* */
};

struct target {
    struct turn turn; /* first */
    struct xfer x;    /* the mail on its way */
    struct tpc_arena *arena;
    struct curl_slist *to_list;
    struct tpc_str to[MAIL_TO_MAX];
    size_t to_count;
    struct tpc_str subject; /* empty = of the message */
    struct tpi_buf mail;
    size_t read;           /* bytes of it that libcurl has */
    char reply[REPLY_MAX]; /* of the server, that refuses */
};

static struct smtp *smtp_of(const struct target *t)
{
    return (struct smtp *) t->turn.all;
}

static struct target *target_of(struct xfer *x)
{
    return (struct target *) (void *) ((char *) x - offsetof(struct target, x));
}

/* ---- a mail ---- */

static int put_lines(struct tpi_buf *b, const struct tpc_batch *batch, uint32_t first,
                     uint32_t count, bool dated)
{
    int rc = 0;
    for (uint32_t i = first; rc == 0 && i < first + count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (dated) {
            char time[UTC_RFC3339_BYTES];
            utc_rfc3339(m->unix_ms, time);
            rc = tpi_buf_printf(b, "%s ", time);
        }
        if (rc == 0) {
            rc = say_line(b, m);
        }
        if (rc == 0) {
            rc = tpi_buf_put(b, "\n", 1);
        }
    }
    return rc;
}

/* Who and when, below a notification's own text. */
static int put_footer(struct tpi_buf *b, const struct tpc_msg *m)
{
    char time[UTC_RFC3339_BYTES];
    utc_rfc3339(m->unix_ms, time);
    int rc = tpi_buf_printf(b, "\n-- \n%s", time);
    const struct tpc_str parts[] = { m->tenant, m->product, m->device };
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        rc = parts[i].len > 0 ? tpi_buf_put(b, " ", 1) : 0;
        if (rc == 0) {
            rc = tpi_buf_text(b, parts[i]);
        }
    }
    return rc != 0 ? rc : tpi_buf_put(b, "\n", 1);
}

static int put_subject(struct tpi_buf *b, const struct target *t, const struct tpc_msg *m)
{
    struct tpc_str said = t->subject.len > 0 ? t->subject : say_param(m, "subject|title|name");
    if (said.len > 0) {
        return tpi_buf_text(b, said);
    }
    return say_name(b, m);
}

static int make(struct turn *turn, const struct tpc_batch *batch, uint32_t first, uint32_t count,
                struct tpc_error *err)
{
    struct target *t = (struct target *) turn;
    const struct smtp *s = smtp_of(t);
    const struct tpc_msg *m = tpc_batch_msg(batch, first);
    struct tpi_buf subject, body;
    tpi_buf_init(&subject, s->host->allocator, t->mail.limit);
    tpi_buf_init(&body, s->host->allocator, t->mail.limit);
    tpi_buf_clear(&t->mail);
    int rc = put_subject(&subject, t, m);
    if (rc == 0) {
        rc = put_lines(&body, batch, first, count, turn->whole);
    }
    if (rc == 0 && !turn->whole) {
        rc = put_footer(&body, m);
    }
    if (rc == 0) {
        struct mail mail = { .from = s->from,
                             .from_name = s->from_name,
                             .to = t->to,
                             .to_count = t->to_count,
                             .subject = { (const char *) subject.ptr, subject.len },
                             .body = { (const char *) body.ptr, body.len },
                             .id = m->id,
                             .unix_ms =
                                 m->received_unix_ms != 0 ? m->received_unix_ms : m->unix_ms };
        rc = mail_write(&t->mail, &mail);
    }
    tpi_buf_fini(&subject);
    tpi_buf_fini(&body);
    return rc == 0 ? 0
                   : tpi_error_set(err, rc, "smtp",
                                   rc == TPC_ETOOBIG ? "the mail is over body_max"
                                                     : "no mail can be made");
}

/* ---- its way ---- */

static size_t on_read(char *to, size_t one, size_t n, void *user)
{
    struct target *t = user;
    size_t left = t->mail.len - t->read;
    size_t take = left < one * n ? left : one * n;
    if (take > 0) {
        memcpy(to, t->mail.ptr + t->read, take);
    }
    t->read += take;
    return take;
}

/* A line of the server. Kept is the last refusal that nothing but the answer to QUIT came after. */
static size_t on_line(char *p, size_t one, size_t n, void *user)
{
    struct target *t = user;
    size_t len = 0;
    if (one * n >= 3 && memcmp(p, "221", 3) == 0) {
        return one * n;
    }
    bool refusal = one * n > 3 && (p[0] == '4' || p[0] == '5');
    for (size_t i = 0; refusal && i < one * n && len < REPLY_MAX - 1; i++) {
        if (p[i] != '\r' && p[i] != '\n') {
            t->reply[len++] = p[i] >= 0x20 && p[i] < 0x7f ? p[i] : ' ';
        }
    }
    t->reply[len] = '\0';
    return one * n;
}

/* Its code; 0 = there is none. */
static int reply_code(const struct target *t)
{
    int code = 0;
    for (int i = 0; i < 3; i++) {
        if (t->reply[i] < '0' || t->reply[i] > '9') {
            return 0;
        }
        code = code * 10 + (t->reply[i] - '0');
    }
    return code;
}

static size_t on_nothing(char *p, size_t one, size_t n, void *user)
{
    (void) p;
    (void) user;
    return one * n;
}

static CURLcode set_mail(struct target *t, CURL *easy)
{
    const struct smtp *s = smtp_of(t);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_USE_SSL, s->starttls);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_MAIL_FROM, s->envelope);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, t->to_list);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    }
    if (code == CURLE_OK) {
        /* libcurl waits for the answer to QUIT: of a connection that was kept it would do so while
         * the sink stops. */
        code = curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long) ANSWER_S);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_READDATA, t);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t) t->mail.len);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    }
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_nothing);
}

static int setup(struct xfer *x, CURL *easy, struct tpc_error *err)
{
    struct target *t = target_of(x);
    int rc = xfer_set(easy, &smtp_of(t)->settings);
    if (rc == 0) {
        CURLcode code = set_mail(t, easy);
        rc = code == CURLE_OK ? 0 : code == CURLE_OUT_OF_MEMORY ? TPC_ENOMEM : TPC_EUNSUPPORTED;
    }
    return rc == 0 ? 0 : tpi_error_set(err, rc, "smtp", "libcurl refuses a setting");
}

/* What became of a mail, in the codes of a sink. */
static int judge(const struct target *t, const struct tpc_error *given, struct tpc_error *ret)
{
    int reply = reply_code(t);
    *ret = *given;
    if (reply == 0 || given->code == TPC_ECANCELED || given->code == TPC_ETIMEOUT ||
        given->code == TPC_ENOMEM) {
        if (ret->code == TPC_EINVAL) {
            ret->code = TPC_EUNSUPPORTED; /* never the message's fault */
        }
        return ret->code;
    }
    return tpi_error_native(ret, mail_code(reply), reply, "smtp", "%s (%.100s)", t->reply,
                            given->text);
}

static void on_done(struct xfer *x, CURL *easy, const struct tpc_error *err)
{
    struct target *t = target_of(x);
    const struct smtp *s = smtp_of(t);
    struct tpc_error own;
    (void) easy;
    if (err != NULL) {
        int rc = judge(t, err, &own);
        const char *name = rc == TPC_ECANCELED                      ? "canceled"
                           : tpc_error_class(rc) == TPC_CLASS_RETRY ? "failed"
                           : rc == TPC_EINVAL || rc == TPC_ETOOBIG  ? "refused"
                                                                    : "denied";
        s->host->count(s->ctx, name, 1);
    }
    turn_ended(&t->turn, err != NULL ? &own : NULL);
}

static int submit(struct turn *turn, struct tpc_error *err, uint64_t *ret_id)
{
    struct target *t = (struct target *) turn;
    struct smtp *s = smtp_of(t);
    t->read = 0;
    t->reply[0] = '\0';
    t->x.origin = "smtp";
    t->x.peer_name = s->url;
    t->x.setup = setup;
    t->x.done = on_done;
    int rc = xfer_submit(s->loop, &t->x, ret_id);
    return rc == 0 ? 0
                   : tpi_error_set(err, rc == TPC_ESTATE ? TPC_EAGAIN : rc, "smtp",
                                   "the mail cannot be sent now");
}

static void cancel(struct turn *turn, uint64_t id)
{
    (void) xfer_cancel(smtp_of((struct target *) turn)->loop, id);
}

/* ---- the sink ---- */

static bool has_control(struct tpc_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char) s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

/* A text of the options with a NUL; *ret stays NULL if it is absent. */
static int keep(struct smtp *s, const struct tpc_value *cfg, const char *name, const char **ret)
{
    struct tpc_str text = tpi_member_text(cfg, name);
    if (text.len == 0) {
        return 0;
    }
    if (has_control(text)) {
        return s->host->fail(s->ctx, TPC_EINVAL, "%s: has a control byte in it", name);
    }
    char *copy = tpc_arena_take(s->arena, text.len + 1);
    if (copy == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for the options");
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *ret = copy;
    return 0;
}

/* <address> in an arena. NULL without memory. */
static char *angled(struct tpc_arena *arena, struct tpc_str address)
{
    char *p = tpc_arena_take(arena, address.len + 3);
    if (p != NULL) {
        p[0] = '<';
        memcpy(p + 1, address.ptr, address.len);
        memcpy(p + 1 + address.len, ">", 2);
    }
    return p;
}

static int read_options(struct smtp *s, const struct tpc_value *cfg)
{
    const struct tpc_value *tls = tpc_value_get(cfg, TPC_STR("tls"));
    struct tpc_str starttls = tpi_member_text(cfg, "starttls");
    struct tpc_error err;
    s->from = tpi_member_text(cfg, "from");
    s->from_name = tpi_member_text(cfg, "from_name");
    if (!mail_address_valid(s->from)) {
        return s->host->fail(s->ctx, TPC_EINVAL, "from: is no address");
    }
    if (has_control(s->from_name)) {
        return s->host->fail(s->ctx, TPC_EINVAL, "from_name: has a control byte in it");
    }
    int rc = mail_url(tpi_member_text(cfg, "url"), tpi_member_text(cfg, "helo"), &err, s->url);
    if (rc != 0) {
        return s->host->fail(s->ctx, rc, "%s", err.text);
    }
    s->envelope = angled(s->arena, s->from);
    if (s->envelope == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for the options");
    }
    s->starttls = tpc_str_equal(starttls, TPC_STR("off"))   ? CURLUSESSL_NONE
                  : tpc_str_equal(starttls, TPC_STR("try")) ? CURLUSESSL_TRY
                                                            : CURLUSESSL_ALL;
    s->settings.url = s->url;
    s->settings.schemes = s->url[4] == 's' ? "smtps" : "smtp";
    s->settings.connect_ms = (uint32_t) tpi_member_int(cfg, "connect_timeout", 0);
    s->settings.whole_ms = (uint32_t) tpi_member_int(cfg, "timeout", 0);
    s->settings.insecure = !tpi_member_bool(tls, "verify", true);
    rc = keep(s, cfg, "user", &s->settings.user);
    rc = rc != 0 ? rc : keep(s, cfg, "password", &s->settings.password);
    rc = rc != 0 ? rc : keep(s, tls, "ca", &s->settings.ca);
    rc = rc != 0 ? rc : keep(s, tls, "cert", &s->settings.cert);
    return rc != 0 ? rc : keep(s, tls, "key", &s->settings.key);
}

static int smtp_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct smtp *s = self;
    struct xfer_limits limits = { .total = (uint32_t) tpi_member_int(cfg, "max_connections", 0),
                                  .queue = QUEUE };
    limits.per_peer = limits.total;
    s->host = s->turns.host = host;
    s->ctx = s->turns.ctx = ctx;
    s->turns.make = make;
    s->turns.submit = submit;
    s->turns.cancel = cancel;
    turns_init(&s->turns);
    if (tpc_arena_create(host->allocator, 0, &s->arena) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the options");
    }
    int rc = read_options(s, cfg);
    if (rc == 0 && xfer_loop_create(host->allocator, &limits, &s->loop) != 0) {
        rc = host->fail(ctx, TPC_ENOMEM, "libcurl could not be set up");
    }
    return rc;
}

static int smtp_start(void *self)
{
    struct smtp *s = self;
    int rc = xfer_loop_start(s->loop);
    if (rc != 0) {
        return s->host->fail(s->ctx, rc, "a thread could not be started");
    }
    turns_start(&s->turns);
    return 0;
}

static void smtp_target_close(void *self, void *target)
{
    struct smtp *s = self;
    struct target *t = target;
    turn_fini(&t->turn);
    tpi_buf_fini(&t->mail);
    curl_slist_free_all(t->to_list);
    tpc_arena_destroy(t->arena);
    s->host->allocator->resize(s->host->allocator->user, t, sizeof(*t), 0);
}

static int read_target(struct smtp *s, struct target *t, const struct tpc_value *cfg)
{
    const struct tpc_value *to = tpc_value_get(cfg, TPC_STR("to"));
    t->subject = tpi_member_text(cfg, "subject");
    if (has_control(t->subject)) {
        return s->host->fail(s->ctx, TPC_EINVAL, "subject: has a control byte in it");
    }
    if (tpc_arena_create(s->host->allocator, 0, &t->arena) != 0) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    for (size_t i = 0; i < to->len; i++) {
        struct tpc_str address = tpc_value_text(&to->as.items[i]);
        if (!mail_address_valid(address)) {
            return s->host->fail(s->ctx, TPC_EINVAL, "to[%zu]: is no address", i);
        }
        const char *envelope = angled(t->arena, address);
        struct curl_slist *list = envelope != NULL ? curl_slist_append(t->to_list, envelope) : NULL;
        if (list == NULL) {
            return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
        }
        t->to_list = list;
        t->to[t->to_count++] = address;
    }
    return 0;
}

static int smtp_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                            void **ret_target)
{
    struct smtp *s = self;
    const struct tpc_allocator *a = s->host->allocator;
    (void) name;
    struct target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    if (t == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    memset(t, 0, sizeof(*t));
    t->turn.all = &s->turns;
    t->turn.whole = tpi_member_int(cfg, "batch", 0) != 0;
    tpi_buf_init(&t->mail, a, (size_t) tpi_member_int(cfg, "body_max", 0));
    int rc = read_target(s, t, cfg);
    if (rc != 0) {
        smtp_target_close(s, t);
        return rc;
    }
    *ret_target = t;
    return 0;
}

static int smtp_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    return turn_send(&((struct target *) target)->turn, batch, ticket);
}

static void smtp_stop(void *self)
{
    struct smtp *s = self;
    turns_stop(&s->turns);
    if (s->loop != NULL) {
        xfer_loop_stop(s->loop);
    }
}

static void smtp_fini(void *self)
{
    struct smtp *s = self;
    s->loop = xfer_loop_destroy(s->loop);
    s->arena = tpc_arena_destroy(s->arena);
    turns_fini(&s->turns);
}

static const struct tpc_sink_ops smtp_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "smtp",
    .instance_size = sizeof(struct smtp),
    .options = TPC_OPTIONS(smtp_options),
    .target_options = TPC_OPTIONS(target_options),
    .init = smtp_init,
    .start = smtp_start,
    .target_open = smtp_target_open,
    .send = smtp_send,
    .target_close = smtp_target_close,
    .stop = smtp_stop,
    .fini = smtp_fini,
};

static const struct tpc_interface smtp_interfaces[] = { { TPC_KIND_SINK, &smtp_ops } };

TPC_MODULE(smtp, .version = TPC_VERSION, .licence = "Apache-2.0 AND curl", .flags = TPC_MOD_THREADS,
           .interfaces = TPC_INTERFACES(smtp_interfaces))
