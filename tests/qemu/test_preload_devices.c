/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The preload library and RAM that a device or a secure processor gets by its
 * address: VFIO, iommufd, SEV. The block is given back before the kernel is
 * asked, whatever that says, and never merged again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/preload.h"

static char state[200], reason[200];

/* A refusal that ends some time does not replace one for good. */
static void stays_refused(char *ram, const char *why)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { .start = (uintptr_t)ram,
						  .len = RAM_BYTES },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	CHECK(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	CHECK(!ioctl(fd, UFFDIO_REGISTER, &reg));
	CHECK(!ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
	close(fd);
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused") && strstr(reason, why));
}

static void is_refused(char *ram, const char *why)
{
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused") && strstr(reason, why));
	CHECK(!preload_stat("pages_merged"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static void vfio(void)
{
	char *ram = preload_merged();
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map),
						.vaddr = (uintptr_t)ram,
						.size = 1 << 20 };
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap),
						    .size = 1 << 20 };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	CHECK(ioctl(fd, VFIO_IOMMU_MAP_DMA, &map) == -1 && errno == ENOTTY);
	is_refused(ram, "VFIO");
	/* They map and unmap while the guest moves its devices. */
	CHECK(ioctl(fd, VFIO_IOMMU_UNMAP_DMA, &unmap) == -1);
	is_refused(ram, "VFIO");
	stays_refused(ram, "VFIO");
}

/* include/uapi/linux/iommufd.h of Linux 6.2 */
struct ioas_alloc {
	__u32 size, flags, ioas;
};
struct ioas_map {
	__u32 size, flags, ioas, reserved;
	__u64 address, length, iova;
};
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_MAP _IO(';', 0x85)
#define MAP_FIXED_AT 1u
#define MAP_WRITE 2u
#define MAP_READ 4u

/* By the real one, where the host has it. */
static void iommufd(void)
{
	char *ram = preload_merged();
	struct ioas_alloc space = { .size = sizeof(space) };
	struct ioas_map map = { .size = sizeof(map),
				.flags = MAP_FIXED_AT | MAP_WRITE | MAP_READ,
				.address = (uintptr_t)ram + (4 << 20),
				.length = 1 << 20,
				.iova = 1 << 30 };
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC), err = 0;

	if (fd >= 0) {
		CHECK(!ioctl(fd, IOAS_ALLOC, &space));
		map.ioas = space.ioas;
	} else {
		printf("skip: no /dev/iommu: one that refuses stands in\n");
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		err = ENOTTY;
	}
	errno = 0;
	CHECK(ioctl(fd, IOAS_MAP, &map) == (err ? -1 : 0) && errno == err);
	is_refused(ram, "VFIO");
	stays_refused(ram, "VFIO");
}

/* Of the blocks only that which the device gets. */
static void other_block(void)
{
	char *ram = preload_merged(), *other = preload_merged();
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map),
						.vaddr = (uintptr_t)other,
						.size = RAM_BYTES };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	CHECK(ioctl(fd, VFIO_IOMMU_MAP_DMA, &map) == -1);
	CHECK(preload_block(other, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused"));
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "merging"));
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(preload_holds(other, 0, RAM_PAGES));
}

/* Two pages that are equal are not, under the guest's key. */
static void encrypted(void)
{
	char *ram = preload_merged();
	struct kvm_enc_region region = { .addr = (uintptr_t)ram,
					 .size = RAM_BYTES };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	CHECK(ioctl(fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region) == -1);
	is_refused(ram, "confidential");
	stays_refused(ram, "confidential");
}

static const struct preload_case cases[] = {
	{ .name = "vfio", .run = vfio },
	{ .name = "iommufd", .run = iommufd },
	{ .name = "other_block", .run = other_block },
	{ .name = "encrypted", .run = encrypted },
};

int main(int argc, char **argv)
{
	(void)argc;
	return preload_main(argv, cases, sizeof(cases) / sizeof(cases[0]));
}
