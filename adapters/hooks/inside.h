/* Shared by the files of this folder. */
#ifndef HOOKS_INSIDE_H
#define HOOKS_INSIDE_H

#include <tpcore/arena.h>
#include <tpcore/value.h>

#include "hooks.h"

/* A body that is a JSON object; NULL if it is not, or without memory. End with hooks_close(). */
struct hooks_json {
    struct tpc_arena *arena;
    struct tpc_value value;
};
bool hooks_open(const struct hooks_request *q, struct hooks_json *ret);
void hooks_close(struct hooks_json *j);
struct tpc_str hooks_text(const struct hooks_json *j, const char *member);

/* A text as the answer. */
void hooks_say(struct hooks_answer *a, const char *type, const char *text);
/* A tree as the answer. false = it does not fit: the answer is as it was. */
bool hooks_say_json(struct hooks_answer *a, const struct tpc_value *v);

/* Login: fills a->who; a registration fills a->event and a->sign, too. */
bool hooks_login(const struct hooks_request *q, struct hooks_answer *a, struct tpc_str client_id,
                 struct tpc_str username, struct tpc_str password, struct tpc_str peer);

/* Whether the user may. */
bool hooks_allows(const struct hooks_request *q, struct tpc_str username, int access,
                  struct tpc_str topic);

/* What became of a connection: fills a->who and a->event if the user is known. */
void hooks_note(const struct hooks_request *q, struct hooks_answer *a, struct tpc_str username,
                int event);

/* ---- emqx.c, rabbitmq.c, vernemq.c ---- */
hooks_fn hooks_emqx_auth, hooks_emqx_acl, hooks_emqx_event;
hooks_fn hooks_rabbit_user, hooks_rabbit_vhost, hooks_rabbit_resource, hooks_rabbit_topic;
hooks_fn *hooks_vernemq(struct tpc_str hook);

#endif
