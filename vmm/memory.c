/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest RAM: memslots of private anonymous memory, known to KVM and to the
 * engine. Never unmaps memory that the engine still has as a memslot.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm/internal.h"

/* More than asked for is mapped, and what is not aligned unmapped again. */
static int map_aligned(size_t bytes, char **ret)
{
	size_t room = bytes + TF_VM_RAM_ALIGN;
	char *map, *ram;

	map = mmap(NULL, room, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	ram = map + (-(uintptr_t)map & (TF_VM_RAM_ALIGN - 1));
	if (ram > map)
		munmap(map, (size_t)(ram - map));
	munmap(ram + bytes, (size_t)(map + room - (ram + bytes)));
	if (madvise(ram, bytes, MADV_NOHUGEPAGE) && errno != EINVAL) {
		int r = -errno;

		munmap(ram, bytes);
		return r;
	}
	*ret = ram;
	return 0;
}

static int set_kvm_slot(const struct tf_vm *vm, unsigned slot,
			const struct tf_ram *ram, size_t bytes)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = ram->gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)ram->hva,
	};

	if (vm->vm_fd < 0)
		return 0;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region))
		return -errno;
	return 0;
}

static int add_to_engine(const struct tf_vm *vm, unsigned slot,
			 const struct tf_ram *ram)
{
	if (!vm->guest)
		return 0;
	return tf_guest_add_memslot(vm->guest, slot, ram->gpa, ram->hva,
				    ram->bytes);
}

static int check_range(uint64_t gpa, size_t bytes)
{
	if (!bytes || (gpa | bytes) % TF_PAGE_SIZE)
		return -EINVAL;
	if (bytes > TF_VM_TSS_GPA || gpa > TF_VM_TSS_GPA - bytes)
		return -EINVAL;
	return 0;
}

int tf_vm_add_ram(struct tf_vm *vm, uint64_t gpa, size_t bytes)
{
	struct tf_ram ram = { .gpa = gpa, .bytes = bytes };
	unsigned slot = vm->nram;
	int r = check_range(gpa, bytes);

	if (r)
		return r;
	if (slot == TF_VM_RAM_MAX)
		return -ENOSPC;
	r = map_aligned(bytes, &ram.hva);
	if (r)
		return r;
	r = set_kvm_slot(vm, slot, &ram, bytes);
	if (!r) {
		r = add_to_engine(vm, slot, &ram);
		if (r)
			set_kvm_slot(vm, slot, &ram, 0);
	}
	if (r) {
		munmap(ram.hva, bytes);
		return r;
	}
	vm->ram[vm->nram++] = ram;
	return 0;
}

int tf_vm_discard(struct tf_vm *vm, uint64_t gpa, char *hva)
{
	if (vm->guest)
		return tf_guest_discard(vm->guest, gpa, TF_PAGE_SIZE);
	return madvise(hva, TF_PAGE_SIZE, MADV_DONTNEED) ? -errno : 0;
}

void tf_vm_free_ram(struct tf_vm *vm)
{
	while (vm->nram) {
		struct tf_ram *ram = &vm->ram[--vm->nram];

		if (vm->guest)
			tf_guest_del_memslot(vm->guest, vm->nram);
		munmap(ram->hva, ram->bytes);
	}
}

void *tf_vm_hva(const struct tf_vm *vm, uint64_t gpa, size_t bytes)
{
	for (unsigned i = 0; i < vm->nram; i++) {
		const struct tf_ram *ram = &vm->ram[i];

		if (gpa >= ram->gpa && gpa - ram->gpa < ram->bytes &&
		    bytes <= ram->bytes - (gpa - ram->gpa))
			return ram->hva + (gpa - ram->gpa);
	}
	return NULL;
}
