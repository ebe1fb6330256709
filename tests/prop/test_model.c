/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random memslots, fills, writes, passes, unmerges, discards, pins, deletes
 * against a plain model. After every step all invariants hold; every so many
 * steps every byte of every guest is compared, and what is mapped with what
 * the tables say. Each epoch is an engine of its own with other options, and
 * ends with tf_engine_destroy() in full swing.
 *
 * TF_SEED: replay. TF_STEPS: how many; 100,000 without it, fewer under a
 * sanitizer. TF_COMPARE_EVERY: steps between comparisons of all bytes.
 * TF_HUGE_PERCENT: guests whose memory may be huge pages.
 *
 * ctest-timeout: 240
 */
#include <stdio.h>

#include "tests/lib/model_run.h"
#include "tests/lib/prop_tables.h"
#include "tests/lib/threads.h"

#define EPOCH_STEPS 4000u
#define BYTES_EVERY 50u
#define TABLES_EVERY 200u

static void step_background(void)
{
	int err;

	prop_note(model_run.background ? "stop" : "start");
	err = model_run.background ? tf_engine_stop(model_run.engine) :
				     tf_engine_start(model_run.engine);
	PROP_EXPECT(!err, "start or stop: %d", err);
	model_run.background = !model_run.background;
}

static const struct prop_step steps[] = {
	{ model_step_fill, 18 },   { model_step_write, 24 },
	{ model_step_pass, 26 },   { model_step_unmerge, 8 },
	{ model_step_discard, 8 }, { model_step_pin, 4 },
	{ model_step_unpin, 5 },   { model_step_add, 3 },
	{ model_step_del, 2 },     { model_step_guest, 1 },
	{ step_background, 1 },
};

/* Every frame is in one state, and no content has more copies than frames. */
static void check_stats(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	uint64_t merged = 0, zero = 0, cow = 0, bytes = 0;

	PROP_EXPECT(!tf_engine_stats(model_run.engine, &s), "no statistics");
	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		struct tf_guest_stats g = { .size = sizeof(g) };

		if (!model_run.guests[i].guest)
			continue;
		PROP_EXPECT(!tf_guest_stats(model_run.guests[i].guest, &g),
			    "no statistics of guest %u", i);
		merged += g.pages_merged;
		zero += g.zero_pages;
		cow += g.pages_cow;
		bytes += g.bytes;
	}
	PROP_EXPECT(model_run.background ||
			    s.pages_shared + s.pages_sharing == merged,
		    "shared %llu + sharing %llu, guests have %llu",
		    (unsigned long long)s.pages_shared,
		    (unsigned long long)s.pages_sharing,
		    (unsigned long long)merged);
	PROP_EXPECT(model_run.background ||
			    (s.zero_pages == zero && s.pages_cow == cow),
		    "zero or copied frames do not add up");
	PROP_EXPECT((merged + zero + cow) * TF_PAGE_SIZE <= bytes,
		    "more frames than memory");
	PROP_EXPECT(s.chains + s.chain_dups >= s.pages_shared,
		    "more copies in use than there are");
}

static void epoch(unsigned no, unsigned long n)
{
	unsigned long every = prop_env("TF_COMPARE_EVERY", BYTES_EVERY);
	struct tf_engine_opts o;
	int err;

	tf_engine_opts_init(&o);
	o.max_page_sharing = model_below(4) ? 2 + model_below(4) : 256;
	o.use_zero_pages = (int)model_below(4) != 0;
	o.smart_scan = (int)model_below(2);
	o.scan_mode = model_below(3) ? TF_SCAN_AUTO : TF_SCAN_HASH;
	snprintf(model_run.options, sizeof(model_run.options),
		 "epoch %u: max_page_sharing %u, zero %d, smart %d, mode %d",
		 no, o.max_page_sharing, o.use_zero_pages, o.smart_scan,
		 (int)o.scan_mode);
	prop_note("%s", model_run.options);
	err = tf_engine_create(&o, &model_run.engine);
	PROP_EXPECT(!err, "create: %d", err);
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		model_guest_create(&model_run.guests[i]);
	for (unsigned long i = 1; i <= n; i++) {
		prop_watchdog(30, "a step of the model");
		prop_take_step(&model_run.rng, steps,
			       sizeof(steps) / sizeof(*steps));
		prop_check_engine(model_run.engine, "after a step");
		if (i % every == 0)
			model_compare_all();
		if (i % TABLES_EVERY == 0) {
			check_stats();
			prop_check_tables(model_run.engine);
		}
	}
	tf_engine_destroy(model_run.engine);
	model_run.engine = NULL;
	model_run.background = false;
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		model_guest_forget(&model_run.guests[i]);
	model_compare_all();
}

/* Banks are renewed: in the old ones, frames are still mapped to slots that
 * no engine knows any more, and memslots refuse such memory. */
static void banks_renew(void)
{
	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		if (model_run.guests[i].bank)
			model_close(&model_run.guests[i]);
		model_open(&model_run.guests[i],
			   model_below(100) < prop_env("TF_HUGE_PERCENT", 33));
	}
}

static void epochs(unsigned long n)
{
	for (unsigned no = 0; n; no++) {
		unsigned long part = n < EPOCH_STEPS ? n : EPOCH_STEPS;

		banks_renew();
		epoch(no, part);
		n -= part;
	}
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		model_close(&model_run.guests[i]);
}

int main(void)
{
	unsigned long n = prop_env("TF_STEPS", test_scaled(100000));
	struct leak before;

	model_run.rng.state = prop_begin("test_model");
	prop_app_start(&model_run.app);
	prop_require_merging();
	/* The C library keeps memory of the first run for the next. */
	epochs(100);
	leak_take(&before);
	epochs(n);
	prop_check_held(&before, "at the end");
	prop_app_stop(&model_run.app);
	printf("%llu passes, %llu merged, %llu zero pages, %llu bridges, "
	       "%llu memslots refused for pages that the kernel copied\n",
	       (unsigned long long)model_run.passes,
	       (unsigned long long)model_run.merged,
	       (unsigned long long)model_run.zeroed,
	       (unsigned long long)model_run.bridged,
	       (unsigned long long)model_run.left_over);
	PROP_EXPECT(model_run.merged > n / 100, "next to nothing was merged");
	PROP_EXPECT(model_run.bridged >= n / 200,
		    "next to nothing was bridged");
	return 0;
}
