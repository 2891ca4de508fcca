/* The worker: requests, changes and calls, one after the other. */
#include "inside.h"

#include <signal.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/crypto.h"

uint64_t panel_mono_ms(const struct panel *p)
{
    return p->host->clock->mono_ns(p->host->clock->user) / 1000000;
}

struct panel_job *panel_job_make(struct panel *p, panel_handler_fn *handler,
                                 const struct tpc_str texts[3])
{
    size_t bytes = sizeof(struct panel_job) + texts[0].len + texts[1].len + texts[2].len + 3;
    struct panel_job *job = tpi_alloc_zero(p->host->allocator, bytes);
    if (job == NULL) {
        return NULL;
    }
    struct tpc_str *to[] = { &job->text, &job->device_type, &job->form_type };
    char *at = (char *) (job + 1);
    for (int i = 0; i < 3; i++) {
        if (texts[i].len > 0) {
            memcpy(at, texts[i].ptr, texts[i].len);
        }
        *to[i] = (struct tpc_str){ at, texts[i].len };
        at += texts[i].len + 1;
    }
    job->handler = handler;
    job->bytes = bytes;
    job->code = PANEL_OK;
    return job;
}

void panel_job_free(struct panel *p, struct panel_job *job)
{
    tpi_wipe(job + 1, job->bytes - sizeof(*job)); /* vouchers and secrets came with it */
    tpi_free(p->host->allocator, job, job->bytes);
}

int panel_post(struct panel *p, struct panel_job *job)
{
    bool change = job->call == 0 && job->done == NULL;
    pthread_mutex_lock(&p->lock);
    bool full = change ? p->change_count >= PANEL_CHANGES_MAX : p->job_count >= PANEL_JOBS_MAX;
    int rc = p->stopping ? TPC_ESTATE : full ? TPC_EAGAIN : 0;
    if (rc == 0) {
        *(p->last_job != NULL ? &p->last_job->next : &p->jobs) = job;
        p->last_job = job;
        p->change_count += change;
        p->job_count += !change;
        pthread_cond_signal(&p->came);
    }
    p->lost |= change && rc == TPC_EAGAIN;
    pthread_mutex_unlock(&p->lock);
    if (rc != 0) {
        panel_job_free(p, job);
    }
    return rc;
}

/* Under the lock. */
static struct panel_job *take(struct panel *p)
{
    struct panel_job *job = p->jobs;
    if (job != NULL) {
        bool change = job->call == 0 && job->done == NULL;
        p->jobs = job->next;
        p->last_job = p->jobs != NULL ? p->last_job : NULL;
        p->change_count -= change;
        p->job_count -= !change;
    }
    return job;
}

static void end_question(struct panel_job *job, const struct tpc_value *data)
{
    struct tpc_str message = tpc_str_from(panel_message(job->code));
    if (job->done != NULL) {
        job->done(job->done_user, job->code, message, data);
        job->done = NULL;
    }
}

static void run_job(struct panel *p, struct panel_job *job)
{
    if (tpc_arena_create(p->host->allocator, PANEL_ARENA_BYTES, &job->arena) != 0) {
        panel_fail(job, PANEL_INTERNAL, "out of memory");
        p->reload |= job->call == 0 && job->done == NULL;
    } else if (job->call != 0 && job->text.len > 0 &&
               (tpc_json_parse(job->arena, job->text, TPC_JSON_ALLOW_DUPLICATES, NULL, &job->in) !=
                    0 ||
                job->in.type != TPC_MAP)) {
        panel_fail(job, PANEL_PARAMETER, "the body is no JSON object");
    } else {
        job->handler(p, job);
    }
    if (job->call != 0) {
        p->host->count(p->ctx, job->code == PANEL_OK ? "answered" : "refused", 1);
        panel_reply(p, job);
    } else if (job->code != PANEL_OK) {
        end_question(job, NULL);
    }
    tpc_arena_destroy(job->arena);
    panel_job_free(p, job);
}

static void *work(void *user)
{
    struct panel *p = user;
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        struct panel_job *job = take(p);
        bool tick = p->tick, lost = (p->lost || (tick && p->reload)) && job == NULL;
        p->tick = false;
        p->lost &= !lost;
        if (job == NULL && !tick && !lost) {
            pthread_cond_wait(&p->came, &p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        if (lost) {
            static const struct tpc_str none[3];
            p->host->count(p->ctx, "changes_lost", 1);
            job = panel_job_make(p, panel_load, none);
            p->reload = true; /* until it is done */
        }
        if (job != NULL) {
            run_job(p, job);
        }
        if (tick) {
            panel_services_check(p);
        }
        panel_calls_step(p);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int panel_work_start(struct panel *p)
{
    sigset_t all, before;
    p->stopping = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&p->thread, NULL, work, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->runs = rc == 0;
    return rc == 0 ? 0 : p->host->fail(p->ctx, TPC_EAGAIN, "a thread could not be started");
}

void panel_work_stop(struct panel *p)
{
    struct panel_job *job;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->came);
    pthread_mutex_unlock(&p->lock);
    if (p->runs) {
        pthread_join(p->thread, NULL);
        p->runs = false;
    }
    while ((job = take(p)) != NULL) {
        job->code = PANEL_NOT_RUNNING;
        if (job->call != 0) {
            panel_reply(p, job);
        } else {
            end_question(job, NULL);
        }
        panel_job_free(p, job);
    }
}
