/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The world of a unit test: engine, guests, memory, and what it leaves. */
#include "lib/unit_world.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"
#include "lib/process.h"

static void on_log(void *user, enum tf_log_level level, const char *line)
{
	struct unit_log *log = user;
	size_t left;

	(void)level;
	pthread_mutex_lock(&log->lock);
	left = sizeof(log->text) - log->len;
	if (strlen(line) + 2 < left)
		log->len += (size_t)snprintf(log->text + log->len, left, "%s\n",
					     line);
	pthread_mutex_unlock(&log->lock);
}

bool unit_log_has(struct unit *u, const char *words)
{
	bool has;

	pthread_mutex_lock(&u->log.lock);
	has = strstr(u->log.text, words);
	pthread_mutex_unlock(&u->log.lock);
	return has;
}

void unit_log_clear(struct unit *u)
{
	pthread_mutex_lock(&u->log.lock);
	u->log.len = 0;
	u->log.text[0] = '\0';
	pthread_mutex_unlock(&u->log.lock);
}

static struct unit_host host_now(void)
{
	return (struct unit_host){
		.fds = process_fds(),
		.maps = process_maps(),
		.threads = process_threads(),
	};
}

static void assert_host(const struct unit_host *before)
{
	const struct unit_host now = host_now();

	assert_int_equal(now.fds, before->fds);
	assert_int_equal(now.threads, before->threads);
	if (!SANITIZED) /* a sanitizer maps what it likes */
		assert_int_equal(now.maps, before->maps);
}

void unit_init(struct unit *u)
{
	memset(u, 0, sizeof(*u));
	pthread_mutex_init(&u->log.lock, NULL);
	u->os = tf_os_linux;
	tf_engine_opts_init(&u->opts);
	u->opts.log = on_log;
	u->opts.log_user = &u->log;
	u->host = host_now();
}

void unit_open(struct unit *u)
{
	int err = tf_engine_create_os(&u->opts, &u->os, &u->e);

	assert_int_equal(err, 0);
}

void unit_close(struct unit *u)
{
	if (u->e)
		unit_check(u);
	tf_engine_destroy(u->e);
	u->e = NULL;
	while (u->nrams)
		unit_unmap(u, u->ram[0].base);
	pthread_mutex_destroy(&u->log.lock);
	assert_host(&u->host);
}

char *unit_ram(struct unit *u, size_t bytes)
{
	const size_t huge = TF_BLOCK_BYTES;
	char *at = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base = (char *)(((uintptr_t)at + huge - 1) & ~(huge - 1));

	assert_ptr_not_equal(at, MAP_FAILED);
	assert_true(u->nrams < UNIT_RAMS);
	if (base > at)
		munmap(at, (size_t)(base - at));
	munmap(base + bytes, (size_t)(at + huge - base));
	u->ram[u->nrams++] = (struct unit_ram){ base, bytes };
	return base;
}

void unit_unmap(struct unit *u, char *base)
{
	for (unsigned i = 0; i < u->nrams; i++) {
		if (u->ram[i].base != base)
			continue;
		assert_int_equal(munmap(base, u->ram[i].bytes), 0);
		u->ram[i] = u->ram[--u->nrams];
		return;
	}
	fail_msg("no such memory");
}

struct tf_guest *unit_guest(struct unit *u, const char *domain)
{
	struct tf_guest_opts opts = {
		.size = sizeof(opts),
		.trust_domain = domain,
	};
	struct tf_guest *g = NULL;

	assert_int_equal(tf_guest_create(u->e, &opts, &g), 0);
	return g;
}

void unit_slot(struct tf_guest *g, uint32_t slot, uint64_t gpa, char *hva,
	       size_t bytes)
{
	assert_int_equal(tf_guest_add_memslot(g, slot, gpa, hva, bytes), 0);
}

void unit_assert_refused(struct unit *u, struct tf_guest *g, uint32_t slot,
			 uint64_t gpa, void *hva, size_t bytes, int err,
			 const char *words)
{
	struct tf_guest_stats before = unit_guest_stats(g);

	unit_log_clear(u);
	assert_int_equal(tf_guest_add_memslot(g, slot, gpa, hva, bytes), err);
	if (!unit_log_has(u, words))
		fail_msg("the log lacks \"%s\": %s", words, u->log.text);
	assert_int_equal(unit_guest_stats(g).memslots, before.memslots);
	unit_check(u);
}

static struct tf_guest *add_simple(struct unit *u, unsigned pages, char **ram)
{
	struct tf_guest *g;

	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, pages * TF_PAGE);
	unit_slot(g, 0, 0, *ram, pages * TF_PAGE);
	return g;
}

struct tf_guest *unit_empty(struct unit *u)
{
	unit_init(u);
	unit_open(u);
	return unit_guest(u, NULL);
}

struct tf_guest *unit_simple(struct unit *u, unsigned pages, char **ram)
{
	unit_init(u);
	return add_simple(u, pages, ram);
}

struct tf_guest *unit_merged(struct unit *u, unsigned pages, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	u->opts.smart_scan = 0;
	g = add_simple(u, pages, ram);
	unit_fill_run(*ram, pages / 2, 1);
	unit_fill_run(*ram + pages / 2 * TF_PAGE, pages / 2, 1);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, pages);
	return g;
}

struct tf_pass unit_pass(struct unit *u)
{
	struct tf_pass p = { .size = sizeof(p) };

	assert_int_equal(tf_engine_pass(u->e, &p), 0);
	unit_check(u);
	return p;
}

void unit_passes(struct unit *u, unsigned n)
{
	while (n--)
		unit_pass(u);
}

void unit_check(struct unit *u)
{
	char why[256] = "";

	if (tf_engine_check(u->e, why, sizeof(why)))
		fail_msg("invariant broken: %s", why);
}

struct tf_stats unit_stats(struct unit *u)
{
	struct tf_stats s = { .size = sizeof(s) };

	assert_int_equal(tf_engine_stats(u->e, &s), 0);
	return s;
}

uint64_t unit_breaks(struct unit *u)
{
	struct tf_stats s = unit_stats(u);

	return s.breaks + s.breaks_ahead;
}

struct tf_guest_stats unit_guest_stats(struct tf_guest *g)
{
	struct tf_guest_stats s = { .size = sizeof(s) };

	assert_int_equal(tf_guest_stats(g, &s), 0);
	return s;
}

void unit_warm_up(void)
{
	struct unit u[2];

	mallopt(M_ARENA_MAX, 1);
	for (unsigned i = 0; i < 2; i++) {
		unit_init(&u[i]);
		unit_open(&u[i]);
		assert_int_equal(tf_engine_start(u[i].e), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		tf_engine_destroy(u[i].e);
		pthread_mutex_destroy(&u[i].log.lock);
	}
}
