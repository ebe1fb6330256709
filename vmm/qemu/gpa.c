/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KVM's memslots, as QEMU sets them: which guest physical address is where.
 * Only people need it (inject, unmerge): the engine's memslots are RAM blocks,
 * because KVM's come and go many times while a guest boots. Its lock is a leaf.
 */
#include <pthread.h>

#include "vmm/qemu/preload.h"

#define SLOTS_MAX 1024

struct slot {
	int vm;
	uint32_t slot;
	uint64_t gpa, bytes, hva;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[SLOTS_MAX]; /* under lock */
static unsigned nslots;              /* likewise */

static struct slot *find_or_new(int vm, uint32_t slot)
{
	for (unsigned i = 0; i < nslots; i++)
		if (slots[i].vm == vm && slots[i].slot == slot)
			return &slots[i];
	return nslots < SLOTS_MAX ? &slots[nslots++] : NULL;
}

void tq_gpa_set(int vm, uint32_t slot, uint64_t gpa, uint64_t bytes,
		uint64_t hva)
{
	struct slot *s;

	pthread_mutex_lock(&lock);
	s = find_or_new(vm, slot);
	if (s)
		*s = (struct slot){ vm, slot, gpa, bytes, hva };
	pthread_mutex_unlock(&lock);
}

/* False: KVM has slots, and none of them holds `gpa`. */
static bool find_hva(uint64_t gpa, const void **ret)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nslots && !found; i++) {
		const struct slot *s = &slots[i];

		found = gpa >= s->gpa && gpa - s->gpa < s->bytes;
		if (found)
			*ret = (const void *)(uintptr_t)(s->hva + gpa - s->gpa);
	}
	found |= !nslots;
	pthread_mutex_unlock(&lock);
	return found;
}

bool tq_gpa_find(uint64_t gpa, uint64_t *ret)
{
	const void *hva = NULL;

	if (!find_hva(gpa, &hva))
		return false;
	if (hva)
		return tq_blocks_gpa(hva, ret);
	*ret = gpa;
	return true;
}
