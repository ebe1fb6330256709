/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a fault to a request and back. Runs in signal handlers: no lock, no
 * allocation, nothing but atomics and system calls made directly.
 *
 * Requests live in a fixed table. A slot goes FREE -> TAKEN -> POSTED -> DONE
 * -> FREE; each step has one owner, and a waiter that gives up leaves its slot
 * to the healer (ABANDONED).
 */
#include <errno.h>
#include <string.h>

#include "engine/opts.h"
#include "ras/internal.h"

/* A thread that was only told of an error (action optional) waits no longer
 * than this for the verdict: it may hold any lock of the embedder's. */
#define OPTIONAL_WAIT_MS 100u

/* One that cannot go on waits until the healer gives up (healer.c). */
#define REQUIRED_WAIT_MS 1000u

/* Milliseconds, about, that it waits for a slot of the table. */
#define SLOT_TRIES 10000

/* Long enough to return from the handler and touch the page. */
#define LATER_NS 30000u

static struct ras_request *request_try(struct tf_ras *ras)
{
	for (unsigned i = 0; i < RAS_REQUESTS; i++) {
		uint32_t free = REQUEST_FREE;

		if (atomic_compare_exchange_strong(&ras->request[i].state,
						   &free, REQUEST_TAKEN))
			return &ras->request[i];
	}
	return NULL;
}

/* The table is full: who can go on does, who cannot waits for a slot. */
static struct ras_request *request_take(struct tf_ras *ras, bool required)
{
	const struct tf_os *os = ras->engine->os;
	struct ras_request *q = request_try(ras);

	for (int i = 0; !q && required && i < SLOT_TRIES; i++) {
		uint32_t posted = atomic_load(&ras->posted);

		os->wait_word(os, &ras->posted, posted, 1);
		q = request_try(ras);
	}
	return q;
}

static void request_give(struct tf_ras *ras, struct ras_request *q,
			 enum request_state state)
{
	atomic_store(&q->state, state);
	atomic_fetch_add(&ras->posted, 1);
}

static void request_post(struct tf_ras *ras, struct ras_request *q)
{
	request_give(ras, q, REQUEST_POSTED);
	ras->engine->os->signal(ras->engine->os, ras->wake);
}

/* Nobody waits for it. */
static void request_hand_over(struct tf_ras *ras, struct ras_request *q)
{
	request_give(ras, q, REQUEST_ABANDONED);
	ras->engine->os->signal(ras->engine->os, ras->wake);
}

/* Nor is there any hurry: whoever was hit goes on first. Waking a thread costs
 * more than the mapping did where the other CPU sleeps, and its mappings would
 * be in the way. */
static void request_leave(struct tf_ras *ras, struct ras_request *q)
{
	request_give(ras, q, REQUEST_ABANDONED);
	ras->engine->os->arm(ras->engine->os, ras->later, LATER_NS);
}

void ras_request_done(struct tf_ras *ras, struct ras_request *q)
{
	uint32_t posted = REQUEST_POSTED;

	q->verdict.ns = ras->engine->os->now_ns(ras->engine->os) - q->begin_ns;
	if (atomic_compare_exchange_strong(&q->state, &posted, REQUEST_DONE))
		ras->engine->os->wake_word(ras->engine->os, &q->state);
	else if (posted == REQUEST_ABANDONED)
		atomic_store(&q->state, REQUEST_FREE);
}

static void request_fill(struct tf_ras *ras, struct ras_request *q,
			 const void *addr, bool required)
{
	const struct tf_os *os = ras->engine->os;

	q->addr = (uintptr_t)addr & ~(TF_PAGE - 1);
	q->hit = addr;
	q->tid = os->thread_id(os);
	q->required = required;
	q->again = q->engine = false;
	q->rest = RAS_REST_ALL;
	q->dup = q->donor = q->fresh = 0;
	q->err = 0;
	q->begin_ns = os->now_ns(os);
	memset(&q->verdict, 0, sizeof(q->verdict));
	q->verdict.size = sizeof(q->verdict);
}

void ras_note(struct tf_ras *ras, const void *addr)
{
	struct ras_request *q = request_take(ras, false);

	if (!q)
		return; /* the next touch says it again */
	request_fill(ras, q, addr, false);
	q->engine = true;
	request_hand_over(ras, q);
}

/* False: nobody answered in time, the slot is the healer's. */
static bool request_wait(struct tf_ras *ras, struct ras_request *q)
{
	const struct tf_os *os = ras->engine->os;
	bool patient = q->required || q->engine;
	unsigned ms = patient ? REQUIRED_WAIT_MS : OPTIONAL_WAIT_MS;
	unsigned tries = patient ? 10 : 1;
	uint32_t state = atomic_load(&q->state);

	while (state == REQUEST_POSTED && tries--) {
		os->wait_word(os, &q->state, REQUEST_POSTED, ms);
		state = atomic_load(&q->state);
	}
	return state == REQUEST_DONE ||
	       !atomic_compare_exchange_strong(&q->state, &state,
					       REQUEST_ABANDONED);
}

void ras_wait_for(struct tf_ras *ras, const void *addr)
{
	struct ras_request *q = request_take(ras, true);

	if (!q)
		return;
	request_fill(ras, q, addr, false);
	q->engine = true;
	request_post(ras, q);
	if (request_wait(ras, q))
		atomic_store(&q->state, REQUEST_FREE);
}

/* The page that this thread was last told is lost for good. */
static __thread uintptr_t told_page __attribute__((tls_model("initial-exec")));

/* Whoever comes to the page again, told that it is lost, needs another. */
static void remember_told(const struct ras_request *q)
{
	if (!q->required || q->verdict.cls == TF_RAS_NOT_OURS)
		return;
	told_page = q->verdict.cls == TF_RAS_PRIVATE && !q->again ? q->addr : 0;
}

static int export_answer(struct ras_request *q, struct tf_ras_verdict *ret)
{
	int err = q->err;

	if (!err)
		err = tf_opts_export(ret, &q->verdict, sizeof(q->verdict));
	remember_told(q);
	return err;
}

static int ask_healer(struct tf_ras *ras, struct ras_request *q,
		      struct tf_ras_verdict *ret)
{
	int err;

	request_post(ras, q);
	if (!request_wait(ras, q))
		return -EIO;
	err = export_answer(q, ret);
	atomic_store(&q->state, REQUEST_FREE);
	return err;
}

/* Answered in this very thread. */
static int answer_quick(struct tf_ras *ras, struct ras_request *q,
			struct tf_ras_verdict *ret)
{
	const struct tf_os *os = ras->engine->os;
	int err;

	q->verdict.ns = os->now_ns(os) - q->begin_ns;
	err = export_answer(q, ret);
	if (q->rest == RAS_REST_NOTHING)
		atomic_store(&q->state, REQUEST_FREE);
	else
		request_leave(ras, q);
	return err;
}

static int ask(struct tf_ras *ras, const siginfo_t *info,
	       struct tf_ras_verdict *ret)
{
	bool required = info->si_code != MCEERR_AO;
	struct ras_request *q = request_take(ras, required);

	if (!q)
		return -EIO;
	request_fill(ras, q, info->si_addr, required);
	q->again = required && q->addr == told_page;
	if (required && ras_quick(ras, q))
		return answer_quick(ras, q, ret);
	if (required || !ras_lock_is_mine(ras->engine))
		return ask_healer(ras, q, ret);
	request_hand_over(ras, q); /* it waits for us, not we for it */
	return -EIO;
}

/* The healer has nothing to do but to say so, if it can be told. */
static int say_engine_owned(struct tf_ras *ras, const void *addr)
{
	struct ras_request *q = request_take(ras, false);

	if (q) {
		request_fill(ras, q, addr, false);
		ras_say(q, TF_RAS_ENGINE_OWNED, TF_RAS_FROM_NOWHERE);
		q->rest = RAS_REST_SAY;
		request_hand_over(ras, q);
	}
	return ras_own_memory_lost(ras);
}

/* The healer waits for nobody: it looks when the handler is over. */
static int heal_later(struct tf_ras *ras, const void *addr,
		      struct tf_ras_verdict *ret)
{
	const struct tf_ras_verdict v = { .size = sizeof(v),
					  .cls = TF_RAS_TRANSIENT };

	ras_note(ras, addr);
	return tf_opts_export(ret, &v, sizeof(v));
}

int ras_judge(struct tf_ras *ras, const siginfo_t *info,
	      struct tf_ras_verdict *ret)
{
	int saved = errno, err;

	if (ras_is_engine_owned(ras->engine, info->si_addr))
		err = say_engine_owned(ras, info->si_addr);
	else if (ras_is_early(info))
		err = heal_later(ras, info->si_addr, ret);
	else
		err = ask(ras, info, ret);
	errno = saved;
	return err;
}

int tf_ras_handle(struct tf_engine *e, const siginfo_t *info,
		  struct tf_ras_verdict *ret)
{
	struct tf_ras *ras = ras_enter(e);
	int err;

	if (!ras)
		return -ENODEV;
	err = ras_judge(ras, info, ret);
	ras_leave(ras);
	return err;
}
