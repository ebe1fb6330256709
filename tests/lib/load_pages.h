/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages with an owner: one thread writes to them, and knows every byte. The
 * expected bytes lie in a shadow of ordinary memory.
 *
 * Pages keep returning to a few common contents, so that they merge, are
 * broken and merge again.
 */
#ifndef TF_TESTS_LIB_LOAD_PAGES_H
#define TF_TESTS_LIB_LOAD_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define LOAD_CONTENTS 8 /* content 0 is zeros */

struct load {
	char *ram;    /* first page */
	char *shadow; /* what is expected there */
	size_t pages;
	uint64_t seq;    /* of the last write */
	uint64_t writes; /* each read back */
};

/* Common content `no`, the same in every run of every test. */
void content_fill(void *page, unsigned no);

/* Takes the pages at `ram`, and fills them with common contents. */
void load_init(struct load *l, char *ram, size_t pages);
void load_fini(struct load *l);

/* Is every byte of the page right? If not, the test ends. */
void load_verify(const struct load *l, size_t page);
void load_verify_all(const struct load *l);

/* One store of a fresh number, checked before and after. */
void load_store(struct load *l, size_t page, size_t word);

/* The whole page becomes common content `no`, by stores. */
void load_common(struct load *l, size_t page, unsigned no);

/* The page is now these bytes by other means than stores. */
void load_expect(struct load *l, size_t page, const void *bytes);

/*
 * A visit by its owner: verify, `stores` random stores, verify, and mostly
 * back to a common content.
 */
void load_visit(struct load *l, size_t page, unsigned stores, uint64_t *rng);

static inline char *load_page(const struct load *l, size_t page)
{
	return l->ram + page * 4096;
}

#endif
