/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd.c -- userfaultfd(2): who touches memory that has no page yet is told of
 *
 * Owns: nothing.  Locks: none.
 * Kernel: fs/userfaultfd.c, mm/userfaultfd.c (5.10 to 6.18).
 */
#define _GNU_SOURCE
#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daxcore/types.h"
#include "errormsg.h"
#include "sys.h"

/* Newer than some headers. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define DAX_USERFAULTFD_IOC_NEW		_IO(0xAA, 0x00)
#define DAX_UFFD_FEATURE_EXACT_ADDRESS	(UINT64_C(1) << 11)
#define DAX_UFFD_FEATURE_WP_SHMEM	(UINT64_C(1) << 12)
#define DAX_UFFD_FEATURE_POISON		(UINT64_C(1) << 14)
#define DAX_UFFD_FEATURE_WP_ASYNC	(UINT64_C(1) << 15)
#define DAX_UFFD_FEATURE_MOVE		(UINT64_C(1) << 16)

struct dax_uffdio_move {
	uint64_t dst, src, len, mode;
	int64_t move;
};
#define DAX_UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct dax_uffdio_move)
#define DAX_MOVE_DONTWAKE	(UINT64_C(1) << 0)

struct dax_uffdio_poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define DAX_UFFDIO_POISON	_IOWR(UFFDIO, 0x08, struct dax_uffdio_poison)
#define DAX_POISON_DONTWAKE	(UINT64_C(1) << 0)

/* ---- a descriptor ------------------------------------------------------------- */

static int open_node(void)
{
	int node = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = -1;

	if (node < 0)
		return -1;
	fd = ioctl(node, DAX_USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	sys_close(node);
	return fd;
}

static int open_call(int flags)
{
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
}

/* The best kind there is: one that sees the kernel's own touches too.  Before Linux
 * 5.11 there is no other, and who may not have it is told so. */
static int open_any(bool signal, unsigned int *ret_features)
{
	int fd = signal ? -1 : open_node();

	if (fd < 0 && !signal)
		fd = open_call(0);
	if (fd >= 0)
		return fd;
	*ret_features |= UFFD_USER_ONLY;
	fd = (int)sys_result(open_call(UFFD_USER_MODE_ONLY));
	return fd == -EINVAL ? (int)sys_result(open_call(0)) : fd;
}

static int handshake(int fd, uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = *features };
	int ret = sys_ioctl(fd, UFFDIO_API, &api);

	if (ret)
		return ret;
	*features = api.features;
	return 0;
}

/* A descriptor that was asked what it can do has to be opened again. */
static int ask_features(bool signal, uint64_t *ret_features)
{
	unsigned int kind = 0;
	int fd = open_any(signal, &kind);
	int ret;

	if (fd < 0)
		return fd;
	*ret_features = 0;
	ret = handshake(fd, ret_features);
	sys_close(fd);
	return ret;
}

/* Why there is no descriptor: refused, out of something, or not of this kernel. */
static int no_uffd(int err)
{
	if (err == -EPERM || err == -EACCES)
		return dax_error(-EPERM, "real mappings need userfaultfd(2), which this "
				 "process may not use: set vm.unprivileged_userfaultfd=1, "
				 "give it /dev/userfaultfd or CAP_SYS_PTRACE, or allow the "
				 "call in the container's seccomp profile");
	if (err == -EMFILE || err == -ENFILE || err == -ENOMEM)
		return dax_error(err, "no descriptor for a real mapping: userfaultfd(2): %s",
				 strerror(-err));
	return dax_error(-EOPNOTSUPP, "real mappings need userfaultfd(2) with write "
			 "protection (Linux 5.7): this kernel has not");
}

int uffd_open(bool signal, unsigned int *ret_features)
{
	uint64_t has = 0, want = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID;
	unsigned int features = 0;
	int fd, ret;

	if (sys_feature_disabled("uffd"))
		return dax_error(-EOPNOTSUPP, "real mappings need userfaultfd(2), and "
				 "DAXCORE_DISABLE names uffd");
	ret = ask_features(signal, &has);
	if (signal)
		want |= UFFD_FEATURE_SIGBUS;
	if (!ret && (has & want) != want)
		ret = -EOPNOTSUPP;
	if (ret)
		return no_uffd(ret);
	want |= has & (DAX_UFFD_FEATURE_EXACT_ADDRESS | DAX_UFFD_FEATURE_POISON |
		       DAX_UFFD_FEATURE_MOVE | DAX_UFFD_FEATURE_WP_SHMEM |
		       (signal ? 0 : UFFD_FEATURE_EVENT_REMAP));
	fd = open_any(signal, &features);
	ret = fd < 0 ? fd : handshake(fd, &want);
	if (ret) {
		if (fd >= 0)
			sys_close(fd);
		return no_uffd(ret);
	}
	if (want & DAX_UFFD_FEATURE_POISON && !sys_feature_disabled("poison"))
		features |= UFFD_CAN_POISON;
	if (want & DAX_UFFD_FEATURE_MOVE && !sys_feature_disabled("move"))
		features |= UFFD_CAN_MOVE;
	if (want & DAX_UFFD_FEATURE_WP_SHMEM && !sys_feature_disabled("wp_shmem"))
		features |= UFFD_CAN_PROTECT_SHMEM;
	/* The kernel says what it has, not what it was asked for. */
	if (!signal && want & UFFD_FEATURE_EVENT_REMAP)
		features |= UFFD_KEEPS_REMAP;
	*ret_features = features;
	return fd;
}

int uffd_open_async(void)
{
	uint64_t features = DAX_UFFD_FEATURE_WP_ASYNC;
	int fd, ret;

	if (sys_feature_disabled("wp_async"))
		return -EOPNOTSUPP;
	fd = (int)sys_result(open_call(UFFD_USER_MODE_ONLY));
	if (fd < 0)
		return fd;
	ret = handshake(fd, &features);
	if (ret)
		sys_close(fd);
	return ret ? ret : fd;
}

static struct uffdio_range range_of(const void *addr, size_t len)
{
	return (struct uffdio_range){ .start = (uintptr_t)addr, .len = len };
}

static int register_range(int fd, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_register reg = { .range = range_of(addr, len), .mode = mode };

	return sys_ioctl(fd, UFFDIO_REGISTER, &reg);
}

int uffd_register(int fd, void *addr, size_t len)
{
	return register_range(fd, addr, len, UFFDIO_REGISTER_MODE_MISSING |
					     UFFDIO_REGISTER_MODE_WP);
}

int uffd_register_stores(int fd, void *addr, size_t len)
{
	return register_range(fd, addr, len, UFFDIO_REGISTER_MODE_WP);
}

int uffd_read(int fd, struct uffd_event *ret_event)
{
	struct uffd_msg msg;
	int64_t n = sys_read(fd, &msg, sizeof(msg));

	if (n < 0)
		return n == -EAGAIN || n == -EINTR ? 0 : (int)n;
	if (n != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
		return 0;
	*ret_event = (struct uffd_event){
		.address = msg.arg.pagefault.address & ~(uintptr_t)(DAX_PAGE_SIZE - 1),
		.write = msg.arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WRITE |
						    UFFD_PAGEFAULT_FLAG_WP),
		.tid = msg.arg.pagefault.feat.ptid,
	};
	return 1;
}

bool uffd_read_remap(int fd, uint64_t *touches)
{
	struct uffd_msg msg;

	while (sys_read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
		if (msg.event == UFFD_EVENT_REMAP)
			return true;
		*touches += msg.event == UFFD_EVENT_PAGEFAULT;
	}
	return false;
}

void uffd_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range range = range_of(addr, len);

	ioctl(fd, UFFDIO_WAKE, &range);
}

/* ---- pages -------------------------------------------------------------------- */

int uffd_zeropage(int fd, void *addr, size_t len)
{
	for (size_t done = 0; done < len;) {
		struct uffdio_zeropage zero = {
			.range = range_of((char *)addr + done, len - done),
			.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
		};
		int ret = sys_ioctl(fd, UFFDIO_ZEROPAGE, &zero);

		if (!ret)
			return 0;
		if (ret == -EEXIST)
			done += DAX_PAGE_SIZE;
		else if (ret != -EAGAIN)
			return ret;
		else if (zero.zeropage > 0)
			done += (size_t)zero.zeropage;
	}
	return 0;
}

int uffd_copy(int fd, void *addr, const void *from, size_t len, bool protect)
{
	for (size_t done = 0; done < len;) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)addr + done, .src = (uintptr_t)from + done,
			.len = len - done,
			.mode = UFFDIO_COPY_MODE_DONTWAKE |
				(protect ? UFFDIO_COPY_MODE_WP : 0),
		};
		int ret = sys_ioctl(fd, UFFDIO_COPY, &copy);

		if (!ret)
			return 0;
		if (ret != -EAGAIN)
			return ret;
		if (copy.copy > 0)
			done += (size_t)copy.copy;
	}
	return 0;
}

int uffd_move(int fd, void *addr, void *from, size_t len)
{
	struct dax_uffdio_move move = {
		.dst = (uintptr_t)addr, .src = (uintptr_t)from, .len = len,
		.mode = DAX_MOVE_DONTWAKE,
	};
	int ret;

	do
		ret = sys_ioctl(fd, DAX_UFFDIO_MOVE, &move);
	while (ret == -EAGAIN && move.move <= 0);
	return ret;
}

int uffd_writeprotect(int fd, void *addr, size_t len, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range = range_of(addr, len),
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP
				: UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
	};
	int ret;

	do
		ret = sys_ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
	while (ret == -EAGAIN);
	return ret;
}

int uffd_poison(int fd, void *addr, size_t len)
{
	struct dax_uffdio_poison poison = {
		.range = range_of(addr, len), .mode = DAX_POISON_DONTWAKE,
	};
	int ret;

	do
		ret = sys_ioctl(fd, DAX_UFFDIO_POISON, &poison);
	while (ret == -EAGAIN);
	return ret;
}
