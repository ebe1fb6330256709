/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The preload library's modes, refusals and protocol: I/O that does not pin
 * ends merging; a process without rights runs on; unknown keys are refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/preload.h"

#define NOBODY 65534
#define TMPFS_TYPE 0x01021994

static void check_forbidden(char *ram)
{
	char desc[200];

	CHECK(!preload_ask("pass", NULL, desc, sizeof(desc)));
	CHECK(strstr(desc, "merging is off"));
	CHECK(!preload_ask("start", NULL, desc, sizeof(desc)));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static void only_ras(void)
{
	char *ram = preload_map(), text[400];

	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	preload_wait(ram, "merging");
	preload_line("{\"execute\":\"stats\"}", text, sizeof(text));
	usleep(300000);
	CHECK(!preload_stat("full_scans"));
	CHECK(preload_vma_has(ram, " mg"));
	check_forbidden(ram);
	CHECK(!preload_stat("full_scans"));
}

/* On tmpfs, whose direct I/O copies; the allow-list does not know it. Opened
 * by name, without which it would have no direct I/O. */
static int memory_file(int flags)
{
	int made = memfd_create("direct", MFD_CLOEXEC), fd;
	struct statfs fs;
	char path[64];

	CHECK(made >= 0 && !fstatfs(made, &fs) && fs.f_type == TMPFS_TYPE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", made);
	fd = open(path, O_RDWR | O_CLOEXEC | flags);
	CHECK(fd >= 0);
	close(made);
	return fd;
}

static void direct_by_fcntl(void)
{
	char *ram = preload_merged();
	int fd = memory_file(0);

	errno = 7;
	CHECK(!fcntl(fd, F_SETFL, O_DIRECT));
	CHECK(errno == 7);
	CHECK(fcntl(fd, F_GETFL) & O_DIRECT);
	check_forbidden(ram);
}

/* Opened before the first block of RAM was named. */
static void direct_by_open(void)
{
	char *ram = preload_map();

	CHECK(memory_file(O_DIRECT) >= 0);
	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	preload_wait(ram, "merging");
	check_forbidden(ram);
}

static void send_fd(int to, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'x';
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = room,
			    .msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK(sendmsg(to, &m, 0) == 1);
}

/* From a management program, as libvirt does it. The flag is set by a system
 * call of its own: the library sees the descriptor arrive, nothing else. */
static void direct_received(void)
{
	char *ram = preload_merged(), room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = room,
			    .msg_controllen = sizeof(room) };
	int pair[2], fd = memory_file(0);

	CHECK(!syscall(SYS_fcntl, fd, F_SETFL, O_DIRECT));
	preload_passes();
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	send_fd(pair[0], fd);
	CHECK(recvmsg(pair[1], &m, 0) == 1);
	check_forbidden(ram);
}

/* Only where KVM does not pin for them: so says the kernel's version. */
static void nested(void)
{
	char *ram = preload_merged();
	struct kvm_cpuid2 *cpuid = calloc(1, 4096);
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	CHECK(cpuid && personality(PER_LINUX | UNAME26) >= 0);
	cpuid->nent = 2;
	cpuid->entries[0].function = 1;
	cpuid->entries[1].function = 0x80000001;
	CHECK(ioctl(fd, KVM_SET_CPUID2, cpuid) == -1 && errno == ENOTTY);
	preload_passes();
	cpuid->entries[1].ecx = 1u << 2;
	CHECK(ioctl(fd, KVM_SET_CPUID2, cpuid) == -1 && errno == ENOTTY);
	check_forbidden(ram);
	free(cpuid);
}

static void vhost_scsi(void)
{
	char *ram = preload_merged();
	struct vhost_scsi_target target = { 0 };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	CHECK(ioctl(fd, VHOST_SCSI_SET_ENDPOINT, &target) == -1);
	check_forbidden(ram);
}

/* KVM's addresses are used when KVM has told them. */
static void kvm_addresses(void)
{
	char *ram = preload_merged();
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;
	struct kvm_userspace_memory_region m = {
		.slot = 3,
		.guest_phys_addr = 0x40000000,
		.memory_size = RAM_BYTES / 2,
		.userspace_addr = (uintptr_t)ram + RAM_BYTES / 2
	};

	if (kvm < 0)
		return;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	CHECK(vm >= 0 && !ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m));
	CHECK(!preload_inject(4096));
	CHECK(preload_inject(0x40000000 + 4096));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(preload_stat("heals") == 1);
	m.memory_size = 0;
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m));
	CHECK(!preload_inject(0x40000000 + 4096));
}

/* Without the right to; test_old_kernel.py runs it where UFFDIO_MOVE lacks. */
static void cannot_merge(void)
{
	char *ram = preload_map();

	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	CHECK(!madvise(ram, RAM_BYTES, MADV_DONTFORK));
	preload_wait(ram, "merging");
	CHECK(!preload_stat("can_merge") && !preload_stat("pages_merged"));
	CHECK(preload_vma_has(ram, " mg")); /* KSM may */
	check_forbidden(ram);
}

static void refuses(const char *line, const char *why)
{
	char answer[500];

	preload_line(line, answer, sizeof(answer));
	CHECK(strstr(answer, "\"error\"") && strstr(answer, why));
}

static void protocol(void)
{
	char *ram = preload_merged(), answer[500], desc[200];
	json_t *ret;

	refuses("{\"execute\":\"pass\",\"extra\":1}", "unknown key 'extra'");
	refuses("{\"execute\":\"inject\",\"arguments\":{\"gpa\":4096,"
		"\"how\":\"sim\",\"x\":1}}",
		"unknown argument 'x'");
	refuses("{\"execute\":\"pass\",\"execute\":\"stop\"}", "duplicate");
	refuses("{\"execute\":\"inject\",\"arguments\":{\"gpa\":4096}}",
		"'how' is missing");
	refuses("{\"execute\":\"inject\",\"arguments\":{\"gpa\":\"4096\","
		"\"how\":\"sim\"}}",
		"must be an integer");
	refuses("{\"execute\":\"inject\",\"arguments\":{\"gpa\":4096,"
		"\"how\":\"hard\"}}",
		"sim, madvise or hwpoison");
	refuses("{\"execute\":\"dance\"}", "CommandNotFound");
	refuses("[]", "not a JSON object");
	refuses("{", "not a JSON object");
	refuses("{\"execute\":\"unmerge\",\"arguments\":{\"gpa\":0}}",
		"gpa and bytes");
	CHECK(!preload_stat("vmces") && !preload_stat("heals"));
	preload_line("{\"execute\":\"stop\",\"id\":[7]}", answer,
		     sizeof(answer));
	CHECK(strstr(answer, "\"return\":{}") && strstr(answer, "\"id\":[7]"));
	ret = preload_ask("unmerge",
			  json_pack("{s:i,s:i}", "gpa", 0, "bytes", 1 << 20),
			  desc, sizeof(desc));
	CHECK(json_integer_value(json_object_get(ret, "bytes")) > 0);
	json_decref(ret);
	CHECK(preload_stat("pages_merged") > 0);
	ret = preload_ask("unmerge", NULL, desc, sizeof(desc));
	CHECK(ret);
	json_decref(ret);
	CHECK(!preload_stat("pages_merged") && !preload_stat("unmerge_bytes"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static const struct preload_case cases[] = {
	{ .name = "mode_ras", .run = only_ras, .env = { "TWINFOLD_MODE=ras" } },
	{ .name = "direct_by_fcntl",
	  .run = direct_by_fcntl,
	  .said = "O_DIRECT" },
	{ .name = "direct_by_open", .run = direct_by_open, .said = "O_DIRECT" },
	{ .name = "direct_received",
	  .run = direct_received,
	  .said = "O_DIRECT" },
	{ .name = "nested", .run = nested, .said = "vmx or svm" },
	{ .name = "vhost_scsi", .run = vhost_scsi, .said = "vhost-scsi" },
	{ .name = "kvm_addresses", .run = kvm_addresses },
	{ .name = "cannot_merge",
	  .run = cannot_merge,
	  .uid = NOBODY,
	  .said = "/dev/userfaultfd" },
	{ .name = "protocol", .run = protocol },
};

int main(int argc, char **argv)
{
	(void)argc;
	return preload_main(argv, cases, sizeof(cases) / sizeof(cases[0]));
}
