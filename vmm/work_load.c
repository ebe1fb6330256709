/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the workload's guest RAM is laid out: control area (payload, tapes,
 * page table) at the start of the lower memslot, then checked pages; the
 * upper memslot is all checked pages. Writes guest RAM before the guest runs,
 * never afterwards.
 */
#include <errno.h>
#include <string.h>

#include "vmm/work.h"

/* The payload's flat image, put into the library by the build. */
extern const char tf_payload_start[], tf_payload_end[];

/* How often a common content occurs in one guest. */
#define COMMON_REPEATS 4

static uint64_t page_align(uint64_t bytes)
{
	return (bytes + TF_PAGE_SIZE - 1) & ~(uint64_t)(TF_PAGE_SIZE - 1);
}

/* What the guest's code uses as the address of a gpa. */
static uint64_t guest_va(const struct tf_work *work, uint64_t gpa)
{
	if (work->vcpu)
		return gpa;
	return (uintptr_t)tf_vm_hva(work->vm, gpa, 1);
}

static struct tf_gw_seg segment(const struct tf_work *work, uint64_t gpa,
				uint64_t end)
{
	struct tf_gw_seg seg = {
		.gpa = (uint32_t)gpa,
		.pages = (uint32_t)((end - gpa) / TF_PAGE_SIZE),
		.va = guest_va(work, gpa),
	};

	return seg;
}

static int load_image(const struct tf_work *work)
{
	size_t bytes = (size_t)(tf_payload_end - tf_payload_start);
	void *image = tf_vm_hva(work->vm, TF_GW_IMAGE, bytes);

	if (!image || bytes > TF_GW_STACK - TF_GW_IMAGE)
		return -ENOSPC;
	memcpy(image, tf_payload_start, bytes);
	return tf_vcpu_boot32(work->vcpu, TF_GW_IMAGE, TF_GW_STACK);
}

static void write_config(struct tf_work *work, const struct tf_work_opts *opts,
			 uint64_t low)
{
	uint64_t table = TF_GW_TAPES + 2 * TF_GW_TAPE_BYTES;
	uint64_t checked = page_align(
		table + opts->bytes / TF_PAGE_SIZE * sizeof(struct tf_gw_page));
	struct tf_gw_config *c = work->config;

	c->guest = opts->id;
	c->seg[0] = segment(work, checked, low);
	c->seg[1] = segment(work, TF_WORK_HIGH_GPA,
			    TF_WORK_HIGH_GPA + opts->bytes - low);
	/* Three of eight pages are common: the pattern in payload/guest.c. */
	c->groups =
		(c->seg[0].pages + c->seg[1].pages) * 3 / 8 / COMMON_REPEATS;
	c->tape[0] = guest_va(work, TF_GW_TAPES);
	c->tape[1] = guest_va(work, TF_GW_TAPES + TF_GW_TAPE_BYTES);
	c->table = guest_va(work, table);
	c->mailbox = guest_va(work, TF_GW_MAILBOX);
	c->mces = guest_va(work, TF_GW_MCES);
	c->deaf = opts->deaf != 0;
	c->host = (uintptr_t)work;
}

int tf_work_load(struct tf_work *work, const struct tf_work_opts *opts)
{
	uint64_t low = page_align(opts->bytes / 2);
	const struct tf_gw_config *c;
	int r;

	r = tf_vm_add_ram(work->vm, 0, low);
	if (!r)
		r = tf_vm_add_ram(work->vm, TF_WORK_HIGH_GPA,
				  opts->bytes - low);
	if (r)
		return r;
	work->config = tf_vm_hva(work->vm, TF_GW_CONFIG, TF_PAGE_SIZE);
	work->mailbox = tf_vm_hva(work->vm, TF_GW_MAILBOX, TF_PAGE_SIZE);
	work->mces = tf_vm_hva(work->vm, TF_GW_MCES, TF_PAGE_SIZE);
	write_config(work, opts, low);
	c = work->config;
	work->report.first_gpa = c->seg[0].gpa;
	work->report.pages = c->seg[0].pages + c->seg[1].pages;
	work->report.pages_ram = opts->bytes / TF_PAGE_SIZE;
	return work->vcpu ? load_image(work) : 0;
}
