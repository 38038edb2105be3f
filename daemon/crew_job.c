/* SPDX-License-Identifier: Apache-2.0 */

/* Work that no connection asked for: waiting, under way on a worker, waiting to be collected. */

#include "daemon/crew_private.h"
#include "daemon/log.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void crew_submit(struct crew *crew, struct crew_job *job) {
        const uint64_t one = 1;

        pthread_mutex_lock(&crew->mutex);
        STAILQ_INSERT_TAIL(&crew->jobs_waiting, job, next);
        crew->n_jobs++;
        if (write(crew->jobs, &one, sizeof(one)) < 0)
                abort(); /* it counts to 2^64 - 2 */
        pthread_mutex_unlock(&crew->mutex);
}

/* With the mutex held: a job without `done` is no longer ours when it has run. */
static void crew_finish_job(struct crew *crew, struct crew_job *job) {
        if (job) {
                STAILQ_INSERT_TAIL(&crew->jobs_done, job, next);
                crew_tell(crew->done);
        } else {
                crew->n_jobs--;
                crew_tell_if_empty(crew);
        }
}

/* It was given up when its worker was lost; now there is something to finish. */
static void crew_regain_job(struct crew *crew, struct crew_worker *worker,
                            struct ledger_owner *owner) {
        crew_regain(crew, worker, owner);
        crew->n_jobs++;
}

void crew_run_job(struct crew *crew, struct crew_worker *worker) {
        struct crew_job *job, *collected;
        struct ledger_owner *owner;
        uint64_t one;

        if (read(crew->jobs, &one, sizeof(one)) < 0)
                return; /* another worker was quicker */

        pthread_mutex_lock(&crew->mutex);
        job = STAILQ_FIRST(&crew->jobs_waiting);
        STAILQ_REMOVE_HEAD(&crew->jobs_waiting, next);
        collected = job->done ? job : NULL;
        owner = job->owner;
        worker->owner = owner;
        worker->state = CREW_BUSY;
        worker->key = CREW_JOBS;
        pthread_mutex_unlock(&crew->mutex);

        job->run(job);

        pthread_mutex_lock(&crew->mutex);
        if (worker->state == CREW_LOST)
                crew_regain_job(crew, worker, owner);
        worker->state = CREW_FREE;
        if (owner) {
                ledger_end_attempt(crew->gate->ledger, owner);
                crew_serve_queue(crew);
        }
        crew_finish_job(crew, collected);
        pthread_mutex_unlock(&crew->mutex);
}

int crew_done_fd(const struct crew *crew) {
        return crew->done;
}

void crew_collect(struct crew *crew) {
        struct crew_job *job;
        uint64_t count;

        if (read(crew->done, &count, sizeof(count)) < 0 && errno != EAGAIN)
                log_write(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");

        pthread_mutex_lock(&crew->mutex);
        while ((job = STAILQ_FIRST(&crew->jobs_done))) {
                STAILQ_REMOVE_HEAD(&crew->jobs_done, next);
                pthread_mutex_unlock(&crew->mutex);
                job->done(job);
                pthread_mutex_lock(&crew->mutex);
                crew->n_jobs--;
                crew_tell_if_empty(crew);
        }
        pthread_mutex_unlock(&crew->mutex);
}
