/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A direct read that stays in flight while many passes run ends in the page
 * that the guest sees: whatever the page was when the read began, and though
 * it looks every bit like a page that could be merged.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/book.h"
#include "engine/state.h"
#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"
#include "lib/stalled.h"

#define PAGE 4096u
#define PAGES 1024
#define PASSES 60
#define TWINS 16 /* pages with the content of the pages under test */

/* What a page is when the read into it begins. */
enum kind {
	KIND_NEW,     /* written a moment ago */
	KIND_SETTLED, /* a candidate, never merged */
	KIND_SHARED,  /* the read itself breaks it */
	KIND_ZERO,    /* the kernel's zero page */
	KIND_BROKEN,  /* was shared, then written back to what it was */
	KIND_AGAIN,   /* broken, settled and shared once more */
	KIND_HOLE,    /* discarded */
	KIND_FAR,     /* never touched, in a block the engine never saw */
	KINDS
};

static const char *const kind_name[KINDS] = {
	"new",    "settled", "shared",    "zero",
	"broken", "again",   "discarded", "untouched",
};

struct read {
	struct worker worker;
	int fd;
	char *to;
	unsigned no; /* block of the device */
};

struct scene {
	struct world world;
	struct stalled device;
	struct read read[KINDS];
	char content[PAGE]; /* of all pages that may merge */
};

static char *page_at(struct scene *s, size_t page)
{
	return s->world.ram + page * PAGE;
}

/* Every kind's page has neighbours of the first block on both sides. */
static char *page_of(struct scene *s, enum kind kind)
{
	return page_at(s, kind == KIND_FAR ? 700 : 100 + 3u * kind);
}

static enum tf_frame_state state_of(struct scene *s, enum kind kind)
{
	struct tf_engine *e = s->world.engine;
	char *addr = page_of(s, kind);
	enum tf_frame_state state = TF_FRAME_NONE;
	struct tf_region *r;
	struct tf_block *b;

	pthread_mutex_lock(&e->lock);
	r = tf_region_at(e, addr);
	b = tf_block_find(r, tf_region_block_of(r, addr));
	if (b)
		state = b->frames[tf_region_page_of(r, addr)].state;
	pthread_mutex_unlock(&e->lock);
	return state;
}

static void expect_state(struct scene *s, enum kind kind,
			 enum tf_frame_state want)
{
	enum tf_frame_state is = state_of(s, kind);

	if (is != want)
		test_fail("the page '%s' is in state %d, not in %d",
			  kind_name[kind], (int)is, (int)want);
}

static void write_content(struct scene *s, enum kind kind)
{
	memcpy(page_of(s, kind), s->content, PAGE);
}

/* Make every page what its name says, just before the reads begin. */
static void set_stage(struct scene *s)
{
	content_fill(s->content, 3);
	for (unsigned i = 0; i < TWINS; i++)
		memcpy(page_at(s, i), s->content, PAGE);
	write_content(s, KIND_SHARED);
	write_content(s, KIND_BROKEN);
	write_content(s, KIND_AGAIN);
	write_content(s, KIND_HOLE);
	memset(page_of(s, KIND_ZERO), 0, PAGE);
	memset(page_of(s, KIND_SETTLED), 0x77, PAGE);
	world_passes(&s->world, 4);
	expect_state(s, KIND_AGAIN, TF_FRAME_SHARED);
	expect_state(s, KIND_BROKEN, TF_FRAME_SHARED);
	write_content(s, KIND_AGAIN);
	world_passes(&s->world, 12);
	write_content(s, KIND_BROKEN);
	write_content(s, KIND_NEW);
	CHECK(tf_guest_discard(s->world.guest,
			       (uint64_t)(page_of(s, KIND_HOLE) - s->world.ram),
			       PAGE) == 0);
	expect_state(s, KIND_SETTLED, TF_FRAME_CANDIDATE);
	expect_state(s, KIND_SHARED, TF_FRAME_SHARED);
	expect_state(s, KIND_ZERO, TF_FRAME_ZERO);
	expect_state(s, KIND_BROKEN, TF_FRAME_NEW);
	expect_state(s, KIND_AGAIN, TF_FRAME_SHARED);
	expect_state(s, KIND_HOLE, TF_FRAME_NONE);
	expect_state(s, KIND_FAR, TF_FRAME_NONE);
}

static void read_block(struct worker *me)
{
	struct read *r = me->arg;
	ssize_t n = pread(r->fd, r->to, PAGE, (off_t)r->no * PAGE);

	if (n != (ssize_t)PAGE)
		test_fail("%s: direct read of %zd bytes", me->name, n);
}

/* All of them are in the block layer or wait in its queue: pinned. */
static void begin_reads(struct scene *s)
{
	stalled_hold(&s->device);
	for (unsigned i = 0; i < KINDS; i++) {
		s->read[i] = (struct read){ .fd = s->device.loop,
					    .to = page_of(s, i),
					    .no = 5 * i };
		worker_start(&s->read[i].worker, kind_name[i], read_block,
			     &s->read[i]);
	}
	stalled_await(&s->device);
	test_nap(0.3);
	/* What looks like a twin is not to be taken for one. */
	world_passes(&s->world, 2);
}

static void end_reads(struct scene *s)
{
	char want[PAGE];

	stalled_release(&s->device);
	for (unsigned i = 0; i < KINDS; i++)
		worker_join(&s->read[i].worker);
	for (unsigned i = 0; i < KINDS; i++) {
		stalled_block(want, s->read[i].no);
		if (memcmp(page_of(s, i), want, PAGE))
			test_fail("the read into a page '%s' is lost",
				  kind_name[i]);
	}
	for (unsigned i = 0; i < TWINS; i++)
		CHECK(memcmp(page_at(s, i), s->content, PAGE) == 0);
}

/* Without write tracking a page that was zero, and still reads as zeros, is
 * taken for the zero page that it was: nobody touches it. */
static bool is_merged(struct scene *s, enum kind kind, enum tf_scan_mode mode)
{
	enum tf_frame_state state = state_of(s, kind);

	return state == TF_FRAME_SHARED ||
	       (state == TF_FRAME_ZERO && mode != TF_SCAN_HASH);
}

static void run(struct scene *s, enum tf_scan_mode mode)
{
	struct tf_engine_opts opts;
	uint64_t busy;

	world_opts(&opts, 256);
	opts.scan_mode = mode;
	world_open(&s->world, PAGES, &opts, NULL);
	set_stage(s);
	busy = s->world.sum.busy;
	begin_reads(s);
	world_passes(&s->world, PASSES);
	world_check(&s->world);
	for (unsigned i = 0; i < KINDS; i++)
		if (is_merged(s, i, mode))
			test_fail("a page '%s' was merged under a read",
				  kind_name[i]);
	/* The passes did try. */
	if (s->world.sum.busy == busy)
		test_fail("no pass tried to merge a page that is being read");
	end_reads(s);
	/* And what was read merges like anything else. */
	memcpy(page_of(s, KIND_SHARED), s->content, PAGE);
	world_passes(&s->world, 12);
	expect_state(s, KIND_SHARED, TF_FRAME_SHARED);
	printf("reads that waited for %d passes: %d right, refused %llu times\n",
	       PASSES, KINDS, (unsigned long long)(s->world.sum.busy - busy));
	world_close(&s->world);
}

int main(void)
{
	static struct scene s;
	struct leak before;

	test_begin();
	stalled_open(&s.device);
	run(&s, TF_SCAN_AUTO);
	leak_take(&before);
	run(&s, TF_SCAN_AUTO);
	run(&s, TF_SCAN_HASH);
	leak_check(&before);
	stalled_close(&s.device);
	return 0;
}
