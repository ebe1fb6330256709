/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rig. Its memory is touched by the test's threads only. */
#include "tests/lib/prop_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/state.h"
#include "tests/lib/model.h"
#include "tests/lib/prop.h"

#define PAGE TF_PAGE_SIZE
#define BLOCK_BYTES ((size_t)2 << 20)
#define BASE_BYTES (6 * BLOCK_BYTES)
#define GPA UINT64_C(0x200000)

void rig_open(struct rig *r)
{
	char *block;

	memset(r, 0, sizeof(*r));
	os_fault_init(&r->fault);
	tf_engine_opts_init(&r->opts);
	r->opts.max_page_sharing = 3;
	r->opts.smart_scan = 0;
	r->base = mmap(NULL, BASE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r->shadow = calloc(RIG_PAGES, PAGE);
	if (r->base == MAP_FAILED || !r->shadow)
		prop_fail("no memory for the rig");
	madvise(r->base, BASE_BYTES, MADV_NOHUGEPAGE);
	block = (char *)(((uintptr_t)r->base + BLOCK_BYTES - 1) &
			 ~(BLOCK_BYTES - 1));
	/* The first one across a border of blocks, the second not. */
	r->ram[0] = block + BLOCK_BYTES - 20 * PAGE;
	r->ram[1] = block + 3 * BLOCK_BYTES + 7 * PAGE;
}

void rig_close(struct rig *r)
{
	os_fault_mend(&r->fault);
	munmap(r->base, BASE_BYTES);
	free(r->shadow);
	pthread_mutex_destroy(&r->fault.lock);
}

char *rig_page(const struct rig *r, unsigned page)
{
	if (page < RIG_SPLIT)
		return r->ram[0] + (size_t)page * PAGE;
	return r->ram[1] + (size_t)(page - RIG_SPLIT) * PAGE;
}

uint64_t rig_gpa(unsigned page)
{
	return GPA + (uint64_t)page * PAGE;
}

static char *shadow_page(const struct rig *r, unsigned page)
{
	return r->shadow + (size_t)page * PAGE;
}

/* What was left open is settled by what the page holds now. */
static void settle(struct rig *r, unsigned page)
{
	if (r->either[page] && rig_page(r, page)[0] == 0 &&
	    memcmp(rig_page(r, page), model_content(0), PAGE) == 0)
		memset(shadow_page(r, page), 0, PAGE);
	r->either[page] = 0;
}

void rig_fill(struct rig *r, unsigned page, unsigned content)
{
	r->either[page] = 0;
	memcpy(shadow_page(r, page), model_content(content), PAGE);
	memcpy(rig_page(r, page), model_content(content), PAGE);
}

void rig_poke(struct rig *r, unsigned page, unsigned offset, char value)
{
	settle(r, page);
	shadow_page(r, page)[offset] = value;
	*(volatile char *)(rig_page(r, page) + offset) = value;
}

void rig_compare(struct rig *r, const char *when)
{
	for (unsigned i = 0; i < RIG_PAGES; i++) {
		settle(r, i);
		if (memcmp(rig_page(r, i), shadow_page(r, i), PAGE) != 0)
			prop_fail("%s: page %u is wrong: content %d, not %d",
				  when, i, model_find_content(rig_page(r, i)),
				  model_find_content(shadow_page(r, i)));
	}
}

static int add_slots(struct rig *r)
{
	static const unsigned first[] = { 0, RIG_SPLIT, RIG_PAGES };
	int err = 0;

	for (unsigned i = 0; i < RIG_SLOTS && !err; i++)
		err = tf_guest_add_memslot(r->guest, i, rig_gpa(first[i]),
					   r->ram[i],
					   (first[i + 1] - first[i]) * PAGE);
	return err;
}

int rig_start(struct rig *r)
{
	struct tf_guest_opts o = { .size = sizeof(o), .trust_domain = "rig" };
	int err = tf_engine_create_os(&r->opts, &r->fault.os, &r->engine);

	if (!err)
		err = tf_guest_create(r->engine, &o, &r->guest);
	return err ? err : add_slots(r);
}

int rig_pass(struct rig *r)
{
	struct tf_pass pass = { .size = sizeof(pass) };

	return tf_engine_pass(r->engine, &pass);
}

int rig_unmerge(struct rig *r, unsigned page, unsigned pages)
{
	return tf_guest_unmerge(r->guest, rig_gpa(page), (size_t)pages * PAGE);
}

int rig_discard(struct rig *r, unsigned page, unsigned pages)
{
	int err;

	for (unsigned i = page; i < page + pages; i++)
		settle(r, i);
	err = tf_guest_discard(r->guest, rig_gpa(page), (size_t)pages * PAGE);
	for (unsigned i = page; i < page + pages; i++) {
		if (err)
			r->either[i] = 1;
		else
			memset(shadow_page(r, i), 0, PAGE);
	}
	return err;
}

void rig_end(struct rig *r)
{
	tf_engine_destroy(r->engine);
	r->engine = NULL;
	r->guest = NULL;
}
