/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The frame table: blocks on demand, references, and the state just seen. */
#include "engine/frame.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/region.h"
#include "lib/unit_world.h"

#define GIB (UINT64_C(1) << 30)

static struct tf_region *region_of(struct unit *u, size_t bytes)
{
	struct tf_guest *g;
	char *ram;

	unit_init(u);
	unit_open(u);
	g = unit_guest(u, NULL);
	ram = unit_ram(u, bytes);
	unit_slot(g, 0, 0, ram, bytes);
	return u->e->regions[0];
}

static void blocks_come_when_they_are_needed(void **state)
{
	struct unit u;
	struct tf_region *r = region_of(&u, 8 * GIB);
	struct tf_block *a, *b;
	size_t empty;

	(void)state;
	pthread_mutex_lock(&u.e->lock);
	empty = tf_frames_bytes(r);
	assert_null(tf_block_next(r, 0));
	assert_null(tf_block_find(r, 3));
	b = tf_block_make(r, 3000);
	a = tf_block_make(r, 7);
	assert_ptr_equal(tf_block_make(r, 7), a);
	assert_ptr_equal(tf_block_find(r, 3000), b);
	assert_null(tf_block_find(r, 8));
	assert_int_equal(r->nblocks, 2);
	assert_ptr_equal(tf_block_next(r, 0), a);
	assert_ptr_equal(tf_block_next(r, 7), a);
	assert_ptr_equal(tf_block_next(r, 8), b);
	assert_null(tf_block_next(r, 3001));
	assert_true(tf_frames_bytes(r) - empty >= 2 * sizeof(struct tf_block));
	pthread_mutex_unlock(&u.e->lock);
	unit_close(&u);
}

static void references_name_their_frame(void **state)
{
	struct unit u;
	struct tf_region *r = region_of(&u, 4 * TF_BLOCK_BYTES);
	struct tf_block *b;
	uint32_t ref;

	(void)state;
	pthread_mutex_lock(&u.e->lock);
	b = tf_block_make(r, 2);
	ref = tf_ref(b, 511);
	assert_int_not_equal(ref, 0);
	assert_ptr_equal(tf_ref_block(u.e, ref), b);
	assert_int_equal(tf_ref_page(ref), 511);
	assert_ptr_equal(tf_ref_frame(u.e, ref), &b->frames[511]);
	assert_ptr_equal(tf_frame_addr(b, 1),
			 r->origin + 2 * TF_BLOCK_BYTES + TF_PAGE);
	assert_int_equal(tf_frame_linear(b, 1), r->linear + 1025);
	pthread_mutex_unlock(&u.e->lock);
	unit_close(&u);
}

static void reset_is_as_just_seen(void **state)
{
	const struct tf_frame fresh = { .state = TF_FRAME_NEW };
	struct unit u;
	struct tf_region *r = region_of(&u, TF_BLOCK_BYTES);
	struct tf_frame *f;
	struct tf_block *b;

	(void)state;
	pthread_mutex_lock(&u.e->lock);
	b = tf_block_make(r, 0);
	f = &b->frames[9];
	memset(f, 0xff, sizeof(*f));
	f->state = TF_FRAME_NONE;
	tf_frame_reset(b, 9);
	assert_int_equal(f->history, 15);
	assert_int_equal(f->vain, 15);
	assert_int_equal(f->flags, TF_FRAME_FOREIGN | TF_FRAME_BORDER);
	f->history = 0;
	f->vain = 0;
	f->flags = 0;
	assert_memory_equal(f, &fresh, sizeof(fresh));
	assert_int_equal(r->seen, 1);
	assert_int_equal(u.e->n.pending, 1);
	tf_frame_reset(b, 9);
	assert_int_equal(r->seen, 1);
	assert_int_equal(u.e->n.pending, 1);
	tf_frame_forget(b, 9);
	tf_frame_forget(b, 9);
	assert_int_equal(f->state, TF_FRAME_NONE);
	assert_int_equal(r->seen, 0);
	assert_int_equal(u.e->n.pending, 0);
	pthread_mutex_unlock(&u.e->lock);
	unit_close(&u);
}

static void waiting_frames_leave_with_their_block(void **state)
{
	struct unit u;
	struct tf_region *r = region_of(&u, TF_BLOCK_BYTES);
	struct tf_block *b;

	(void)state;
	pthread_mutex_lock(&u.e->lock);
	b = tf_block_make(r, 0);
	for (unsigned i = 0; i < 5; i++)
		tf_frame_reset(b, i * 100);
	assert_int_equal(u.e->n.pending, 5);
	pthread_mutex_unlock(&u.e->lock);
	tf_guest_destroy(r->guest);
	assert_int_equal(u.e->n.pending, 0);
	assert_int_equal(u.e->blocks.live, 0);
	unit_close(&u);
}

/* Blocks follow the host's 2 MiB borders wherever the memslot begins. */
static void a_memslot_may_begin_inside_a_block(void **state)
{
	struct tf_region *r;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, 2 * TF_BLOCK_BYTES);
	unit_slot(g, 0, 0x10000, ram + 3 * TF_PAGE, TF_BLOCK_BYTES);
	r = u.e->regions[0];
	assert_ptr_equal(r->origin, ram);
	assert_int_equal(tf_region_blocks(r), 2);
	assert_int_equal(tf_region_page_of(r, r->start), 3);
	assert_ptr_equal(tf_region_block_start(r, 0), r->start);
	assert_ptr_equal(tf_region_block_end(r, 1), r->end);
	assert_int_equal(tf_region_gpa(r, r->start + TF_PAGE), 0x11000);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_come_when_they_are_needed),
		cmocka_unit_test(references_name_their_frame),
		cmocka_unit_test(reset_is_as_just_seen),
		cmocka_unit_test(waiting_frames_leave_with_their_block),
		cmocka_unit_test(a_memslot_may_begin_inside_a_block),
	};

	return unit_run(tests);
}
