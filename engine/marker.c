/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Write-protecting a page that is not there leaves a marker in its page table
 * entry: a swap entry of a type that no swap device has (the kernel's
 * include/linux/swapops.h, PTE_MARKER_UFFD_WP). The number of the type depends
 * on the kernel's configuration, so it is learned, not written down here.
 */
#include "engine/marker.h"

#include <sys/mman.h>

#include "engine/state.h"

/* Type and offset of a swap entry; zero for the unprivileged. */
#define FRAME_BITS ((UINT64_C(1) << 55) - 1)
/* The type: MAX_SWAPFILES_SHIFT (include/linux/swap.h). */
#define TYPE_BITS ((UINT64_C(1) << 5) - 1)
/* Says what was written lately, nothing about the kind of page. */
#define SOFT_DIRTY (UINT64_C(1) << 55)

static uint64_t entry_of(const struct tf_engine *e, const char *page)
{
	uint64_t entry = 0;

	if (e->os->pagemap_read(e->os, e->pagemap, page, &entry, 1) != 1)
		return 0;
	return entry & ~SOFT_DIRTY;
}

static uint64_t protected_entry(const struct tf_engine *e, char *page)
{
	const struct tf_os *os = e->os;

	if (os->uffd_register(os, e->uffd_merged, page, TF_PAGE, TF_REG_WP) ||
	    os->uffd_protect(os, e->uffd_merged, page, TF_PAGE, true))
		return 0;
	return entry_of(e, page);
}

void tf_marker_learn(struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	int fd = os->memfd(os, "twinfold-marker", TF_PAGE);
	uint64_t entry;
	long at;

	if (fd < 0)
		return;
	at = os->map(os, NULL, TF_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		     0);
	os->close(os, fd);
	if (at < 0)
		return;
	entry = protected_entry(e, (char *)at);
	os->unmap(os, (char *)at, TF_PAGE);
	if ((entry & FRAME_BITS) && (entry & TF_PM_SWAPPED) &&
	    !(entry & (TF_PM_PRESENT | TF_PM_FILE)))
		e->marker = entry;
}

bool tf_marker_is(const struct tf_engine *e, uint64_t entry)
{
	return e->marker && (entry & ~SOFT_DIRTY) == e->marker;
}

bool tf_marker_no_page(const struct tf_engine *e, uint64_t entry)
{
	if (entry & TF_PM_PRESENT)
		return false;
	if (!(entry & TF_PM_SWAPPED) || (entry & TF_PM_FILE))
		return true;
	return e->marker && !((entry ^ e->marker) & TYPE_BITS);
}
