/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys.c -- the operating system, behind one door
 *
 * Owns: the errno global, the allocator seam, futexes, membarrier.
 * Locks: none above the futex mutex it implements.
 * Kernel: the counterparts are lib/ and kernel/locking of the kernel itself.
 * Differs: a waiter pays for the store-load fence (membarrier), not the
 *          unlocker: an unlock is a plain store and a plain load.
 */
#define _GNU_SOURCE
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#ifdef DAX_TEST
struct dax_test_hooks dax_test;
#endif

bool sys_has_membarrier;

static bool membarrier_register(void)
{
	return syscall(SYS_membarrier,
		       MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* Registration is inherited by threads and by fork, not by exec. */
__attribute__((constructor(101))) static void sys_init(void)
{
	sys_has_membarrier = membarrier_register();
}

void asym_barrier_heavy(void)
{
	struct timespec left = { .tv_nsec = 1000000 };

	if (dax_test_no_membarrier() || !sys_has_membarrier) {
		smp_mb();
		return;
	}
	/* Once registered it fails only behind a filter put in place later.
	 * Then wait: a store buffer is drained long before a millisecond. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		while (nanosleep(&left, &left))
			;
}

static void *alloc_aligned(size_t align, size_t size)
{
	size_t rounded = (size + align - 1) & ~(align - 1);

	if (dax_test_fail_alloc(size) || rounded < size)
		return NULL;
	return aligned_alloc(align, rounded);
}

static void *zalloc_aligned(size_t align, size_t size)
{
	void *ptr = alloc_aligned(align, size);

	if (ptr)
		memset(ptr, 0, size);
	return ptr;
}

void *dax_zalloc(size_t size)
{
	return zalloc_aligned(CACHELINE, size);
}

void *dax_zalloc_apart(size_t size)
{
	return zalloc_aligned(FALSE_SHARING, size);
}

void *dax_alloc_page(void)
{
	return alloc_aligned(4096, 4096);
}

void dax_free(void *ptr)
{
	free(ptr);
}

int sys_reserve(void **ret_addr, size_t size)
{
	void *addr;

	if (dax_test_fail_alloc(size))
		return -ENOMEM;
	addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		return -ENOMEM;
	*ret_addr = addr;
	return 0;
}

void sys_unreserve(void *addr, size_t size)
{
	if (addr)
		munmap(addr, size);
}

void *sys_reserve_readonly(size_t size, size_t align)
{
	char *addr = mmap(NULL, size + align, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED)
		return NULL;
	return (void *)(((uintptr_t)addr + align - 1) & ~(align - 1));
}

void sys_nohugepage(void *addr, size_t size)
{
	/* Fails where huge pages are not built in: then there are none. */
	madvise(addr, size, MADV_NOHUGEPAGE);
}

int sys_populate_write(void *addr, size_t size)
{
	volatile char *page = addr;

	if (madvise(addr, size, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno == ENOMEM || errno == EFAULT)
		return -ENOMEM;
	for (size_t off = 0; off < size; off += 4096)	/* before Linux 5.14 */
		page[off] = 0;
	return 0;
}

uint64_t sys_available_memory(void)
{
	uint64_t kib = UINT64_MAX / 1024;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

uint64_t sys_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void sys_yield(void)
{
	sched_yield();
}

/* ---- files ------------------------------------------------------------- */

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

int sys_open(const char *path, bool write)
{
	return result(open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK));
}

int sys_create_new(const char *path)
{
	return result(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
}

int sys_memfd(const char *name)
{
	return result(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

void sys_close(int fd)
{
	close(fd);
}

void sys_unlink(const char *path)
{
	unlink(path);
}

static enum sys_file_kind file_kind(mode_t mode)
{
	if (S_ISREG(mode))
		return SYS_FILE_REGULAR;
	if (S_ISCHR(mode))
		return SYS_FILE_CHAR;
	return S_ISDIR(mode) ? SYS_FILE_DIR : SYS_FILE_OTHER;
}

int sys_file_info(int fd, struct sys_file_info *ret_info)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*ret_info = (struct sys_file_info){
		.kind = file_kind(st.st_mode),
		.size = (uint64_t)st.st_size,
		.rdev_major = major(st.st_rdev),
		.rdev_minor = minor(st.st_rdev),
	};
	return 0;
}

int sys_truncate(int fd, uint64_t size)
{
	return result(ftruncate(fd, (off_t)size));
}

int sys_seal_shrink(int fd)
{
	return result(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
}

int sys_allocate(int fd, uint64_t offset, uint64_t len)
{
	int ret;

	do {
		ret = result(fallocate(fd, 0, (off_t)offset, (off_t)len));
	} while (ret == -EINTR);
	return ret;
}

/* Headers may be older than the kernel. */
enum { SYS_MAP_SHARED_VALIDATE = 0x03, SYS_MAP_SYNC = 0x80000 };

static int map_window(void **ret_addr, int fd, uint64_t size, int prot, int flags)
{
	void *addr = mmap(NULL, size, prot, flags, fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	*ret_addr = addr;
	return 0;
}

int sys_map_shared(void **ret_addr, int fd, uint64_t size, bool write)
{
	return map_window(ret_addr, fd, size, PROT_READ | (write ? PROT_WRITE : 0),
			  MAP_SHARED);
}

int sys_map_sync(void **ret_addr, int fd, uint64_t size)
{
	return map_window(ret_addr, fd, size, PROT_READ | PROT_WRITE,
			  SYS_MAP_SHARED_VALIDATE | SYS_MAP_SYNC);
}

int sys_fdatasync(int fd)
{
	int ret;

	do {
		ret = result(fdatasync(fd));
	} while (ret == -EINTR);
	return ret;
}

int sys_lock_file(int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

int sys_lock_holder(int fd)
{
	unsigned int maj, min;
	unsigned long ino;
	char line[256];
	struct stat st;
	int pid, holder = 0;
	FILE *f;

	if (fstat(fd, &st))
		return 0;
	f = fopen("/proc/locks", "re");
	if (!f)
		return 0;
	while (!holder && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%lu", &pid, &maj,
			   &min, &ino) == 4 &&
		    ino == st.st_ino && makedev(maj, min) == st.st_dev)
			holder = pid;
	fclose(f);
	return holder;
}

int sys_read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	int ret = 0;

	if (!f)
		return -errno;
	if (fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
	else
		ret = -EIO;
	fclose(f);
	return ret;
}

int sys_read_link(const char *path, char *buf, size_t size)
{
	ssize_t n = readlink(path, buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

int sys_set_signal(int sig, const struct sigaction *action,
		   struct sigaction *ret_before)
{
	return result(sigaction(sig, action, ret_before));
}

/* ---- waiting ----------------------------------------------------------- */

void futex_wait(_Atomic uint32_t *word, uint32_t val)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0);
}

int futex_wait_interruptible(_Atomic uint32_t *word, uint32_t val)
{
	if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0) &&
	    errno == EINTR)
		return -EINTR;
	return 0;
}

void futex_wake(_Atomic uint32_t *word, int nr)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nr, NULL, NULL, 0);
}

static bool mutex_trylock_spin(struct mutex *lock)
{
	for (int i = 0; i < 100; i++) {
		uint32_t free = 0;

		if (READ_ONCE(lock->state) == 0 &&
		    atomic_compare_exchange_strong_explicit(
			    &lock->state, &free, 1, memory_order_acquire,
			    memory_order_relaxed))
			return true;
		cpu_relax();
	}
	return false;
}

void mutex_lock(struct mutex *lock)
{
	if (mutex_trylock_spin(lock))
		return;
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire))
		futex_wait(&lock->state, 2);
}

void mutex_unlock(struct mutex *lock)
{
	if (atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2)
		futex_wake(&lock->state, 1);
}

void mutex_reset(struct mutex *lock)
{
	WRITE_ONCE(lock->state, 0);
}

unsigned int sys_fork_generation;

bool sys_at_fork(void (*prepare)(void), void (*parent)(void),
		 void (*child)(void))
{
	return pthread_atfork(prepare, parent, child) == 0;
}
