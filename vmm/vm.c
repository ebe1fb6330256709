/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A virtual machine: /dev/kvm, what this KVM can do, the VM's descriptor.
 * Also sets the process-wide handler of the signal that interrupts vCPUs.
 * Knows nothing of what runs inside.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/internal.h"

/* The signal only has to end KVM_RUN. */
static void on_kick(int signo)
{
	(void)signo;
}

static int set_kick_handler(void)
{
	struct sigaction sa = { .sa_handler = on_kick };

	return sigaction(TF_VCPU_KICK, &sa, NULL) ? -errno : 0;
}

static int check_kvm(int kvm_fd)
{
	static const int needed[] = {
		KVM_CAP_USER_MEMORY,
		KVM_CAP_IMMEDIATE_EXIT,
		KVM_CAP_SET_TSS_ADDR,
	};

	if (ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i]) <= 0)
			return -EOPNOTSUPP;
	return 0;
}

static int open_kvm(struct tf_vm *vm)
{
	int r;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return errno == ENXIO ? -ENODEV : -errno;
	r = check_kvm(vm->kvm_fd);
	if (r)
		return r;
	r = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < 0)
		return -errno;
	vm->run_bytes = (size_t)r;
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return -errno;
	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TF_VM_TSS_GPA))
		return -errno;
	return set_kick_handler();
}

int tf_vm_create(const struct tf_vm_opts *opts, struct tf_vm **ret)
{
	struct tf_vm *vm;
	int r = 0;

	if (opts && opts->size != sizeof(*opts))
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->kvm_fd = vm->vm_fd = -1;
	tf_list_init(&vm->vcpus);
	tf_list_init(&vm->mces);
	if (opts) {
		vm->guest = opts->guest;
		vm->engine = opts->engine;
	}
	if (!opts || opts->backend == TF_BACKEND_KVM)
		r = open_kvm(vm);
	tf_mce_join(vm);
	if (r) {
		tf_vm_destroy(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

void tf_vm_destroy(struct tf_vm *vm)
{
	if (!vm)
		return;
	tf_mce_leave(vm);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	tf_vm_free_ram(vm);
	free(vm);
}
