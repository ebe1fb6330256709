/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interposed: ioctl(). KVM's memslots are noted; guest RAM that QEMU watches
 * with a userfaultfd of its own, or maps for devices, leaves the engine first.
 * Requests that the build machine's headers may lack are spelled out, with the
 * kernel version that brought them.
 */
#include <linux/kvm.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>

#include "vmm/qemu/preload.h"

/* include/uapi/linux/kvm.h of Linux 6.8 */
struct memory_region2 {
	__u32 slot, flags;
	__u64 gpa, bytes, hva, memfd_offset;
	__u32 memfd, pad1;
	__u64 pad2[14];
};
#define SET_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct memory_region2)
#define MEMORY_GUEST_MEMFD (1u << 2)

/* include/uapi/linux/iommufd.h of Linux 6.2 */
struct ioas_map {
	__u32 size, flags, ioas_id, reserved;
	__u64 user_va, length, iova;
};
#define IOAS_MAP _IO(';', 0x85)

/* A postcopy migration or a background snapshot ends some time. */
#define WATCHED_MS 2000

static const char confidential[] = "it is a confidential guest's";
static const char for_devices[] =
	"it is mapped for devices (VFIO): they and the guest would see "
	"different pages";
static const char watched[] =
	"QEMU watches it with a userfaultfd (postcopy, background snapshot)";

int tq_ioctl(int fd, unsigned long request, ...) TQ_EXPORT("ioctl");

static const void *address(__u64 n)
{
	return (const void *)(uintptr_t)n;
}

static void before(unsigned long request, const void *arg)
{
	const struct memory_region2 *region = arg;
	const struct uffdio_register *reg = arg;
	const struct vfio_iommu_type1_dma_map *dma = arg;
	const struct ioas_map *ioas = arg;
	const struct kvm_enc_region *secret = arg;

	switch (request) {
	case UFFDIO_REGISTER:
		tq_change_refuse(address(reg->range.start), reg->range.len,
				 WATCHED_MS, watched);
		break;
	case SET_MEMORY_REGION2:
		if (region->flags & MEMORY_GUEST_MEMFD)
			tq_change_refuse(address(region->hva), region->bytes, 0,
					 confidential);
		break;
	case KVM_MEMORY_ENCRYPT_REG_REGION:
		tq_change_refuse(address(secret->addr), secret->size, 0,
				 confidential);
		break;
	case VFIO_IOMMU_MAP_DMA:
		tq_change_refuse(address(dma->vaddr), dma->size, 0,
				 for_devices);
		break;
	case IOAS_MAP:
		tq_change_refuse(address(ioas->user_va), ioas->length, 0,
				 for_devices);
		break;
	case KVM_SET_CPUID2:
		tq_nested_check(arg);
		break;
	case VHOST_SCSI_SET_ENDPOINT:
		tq_scan_forbid("vhost-scsi does I/O without pinning pages");
		break;
	}
}

static void after(int fd, unsigned long request, const void *arg)
{
	const struct kvm_userspace_memory_region *m = arg;
	const struct memory_region2 *m2 = arg;

	if (request == KVM_SET_USER_MEMORY_REGION)
		tq_gpa_set(fd, m->slot, m->guest_phys_addr, m->memory_size,
			   m->userspace_addr);
	else if (request == SET_MEMORY_REGION2)
		tq_gpa_set(fd, m2->slot, m2->gpa, m2->bytes, m2->hva);
}

int tq_ioctl(int fd, unsigned long request, ...)
{
	void *arg;
	va_list ap;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (arg)
		before(request, arg);
	r = tq_real()->ioctl(fd, request, arg);
	if (r >= 0 && arg)
		after(fd, request, arg);
	return r;
}
