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
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

void sys_discard(void *addr, size_t size)
{
	madvise(addr, size, MADV_DONTNEED);
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

int64_t sys_clock_real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void sys_yield(void)
{
	sched_yield();
}

uint32_t sys_gettid(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

uint16_t sys_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (uint16_t)cpu;
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
	int ret = dax_test_fail_sys("fstat");
	struct stat st;

	if (ret)
		return ret;
	if (fstat(fd, &st))
		return -errno;
	*ret_info = (struct sys_file_info){
		.kind = file_kind(st.st_mode),
		.size = (uint64_t)st.st_size,
		.rdev_major = major(st.st_rdev),
		.rdev_minor = minor(st.st_rdev),
		.dev = st.st_dev,
		.ino = st.st_ino,
		.ctime_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec,
		.allocated = (uint64_t)st.st_blocks * 512,
	};
	return 0;
}

static uint64_t file_size_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) ? UINT64_MAX : limit.rlim_cur;
}

/* Growth beyond the limit would be a signal that ends the process. */
static int check_growth(int fd, uint64_t size)
{
	struct stat st;

	if (size <= file_size_limit())
		return 0;
	if (fstat(fd, &st))
		return -errno;
	return size > (uint64_t)st.st_size ? -EFBIG : 0;
}

int sys_truncate(int fd, uint64_t size)
{
	int ret = dax_test_fail_sys("ftruncate");

	if (!ret)
		ret = check_growth(fd, size);
	return ret ? ret : result(ftruncate(fd, (off_t)size));
}

int sys_seal_shrink(int fd)
{
	return result(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	int ret = dax_test_fail_sys("fallocate");

	if (!ret && !(mode & FALLOC_FL_KEEP_SIZE))
		ret = check_growth(fd, offset + len);
	if (ret)
		return ret;
	do {
		ret = result(fallocate(fd, mode, (off_t)offset, (off_t)len));
	} while (ret == -EINTR);
	return ret;
}

int sys_allocate(int fd, uint64_t offset, uint64_t len)
{
	return allocate(fd, 0, offset, len);
}

int sys_allocate_keep_size(int fd, uint64_t offset, uint64_t len)
{
	return allocate(fd, FALLOC_FL_KEEP_SIZE, offset, len);
}

int sys_punch(int fd, uint64_t offset, uint64_t len)
{
	int ret = dax_test_fail_sys("punch");

	if (sys_feature_disabled("punch"))
		ret = -EOPNOTSUPP;
	if (ret)
		return ret;
	do {
		ret = result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       (off_t)offset, (off_t)len));
	} while (ret == -EINTR);
	return ret;
}

static ssize_t pwrite_once(int fd, const char *buf, size_t len, uint64_t offset)
{
	ssize_t ret = dax_test_fail_sys("pwrite");

	if (!ret && offset >= file_size_limit())
		ret = -EFBIG;
	if (ret)
		return ret;
	ret = pwrite(fd, buf, len, (off_t)offset);
	if (ret < 0)
		return -errno;
	return ret ? ret : -ENOSPC;	/* it has no other word for it */
}

int64_t sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t ret = pwrite_once(fd, (const char *)buf + done, len - done,
					  offset + done);

		if (ret < 0 && ret != -EINTR)
			return done ? (int64_t)done : ret;
		done += ret < 0 ? 0 : (size_t)ret;
	}
	return (int64_t)done;
}

static ssize_t pread_once(int fd, char *buf, size_t len, uint64_t offset)
{
	ssize_t ret = dax_test_fail_sys("pread");

	if (ret)
		return ret;
	ret = pread(fd, buf, len, (off_t)offset);
	return ret < 0 ? -errno : ret;
}

int64_t sys_read(int fd, void *buf, size_t len)
{
	ssize_t n = read(fd, buf, len);

	return n < 0 ? -errno : n;
}

int64_t sys_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t ret = pread_once(fd, (char *)buf + done, len - done,
					 offset + done);

		if (ret == 0)
			break;
		if (ret < 0 && ret != -EINTR)
			return done ? (int64_t)done : ret;
		done += ret < 0 ? 0 : (size_t)ret;
	}
	return (int64_t)done;
}

static int64_t seek(int fd, uint64_t offset, int whence)
{
	int ret = dax_test_fail_sys("lseek");
	off_t pos;

	if (sys_feature_disabled("seek_hole"))
		ret = -EOPNOTSUPP;
	if (ret)
		return ret;
	pos = lseek(fd, (off_t)offset, whence);
	return pos < 0 ? -errno : pos;
}

int64_t sys_seek_data(int fd, uint64_t offset)
{
	return seek(fd, offset, SEEK_DATA);
}

int64_t sys_seek_hole(int fd, uint64_t offset)
{
	return seek(fd, offset, SEEK_HOLE);
}

int sys_fiemap(int fd, uint64_t offset, uint64_t len, uint64_t *ret_start,
	       uint64_t *ret_end)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u = { .map = { .fm_start = offset, .fm_length = len, .fm_extent_count = 1 } };
	int ret = dax_test_fail_sys("fiemap");

	if (ret)
		return ret;
	if (ioctl(fd, FS_IOC_FIEMAP, &u.map))
		return errno == ENOTTY ? -EOPNOTSUPP : -errno;
	if (!u.map.fm_mapped_extents)
		return 0;
	*ret_start = u.map.fm_extents[0].fe_logical;
	*ret_end = *ret_start + u.map.fm_extents[0].fe_length;
	return 1;
}

uint64_t sys_fs_block_size(int fd)
{
	struct statvfs vfs;

	return fstatvfs(fd, &vfs) ? 0 : vfs.f_frsize;
}

int sys_dup(int fd)
{
	return result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int sys_dup_over(int fd, int over)
{
	return result(dup3(fd, over, O_CLOEXEC));
}

/* Headers may be older than the kernel. */
enum { SYS_MAP_SHARED_VALIDATE = 0x03, SYS_MAP_SYNC = 0x80000 };

static int map_window(void **ret_addr, void *where, int fd, uint64_t size, int prot,
		      int flags)
{
	int ret = dax_test_fail_sys("mmap");
	void *addr;

	if (ret)
		return ret;
	addr = mmap(where, size, prot, flags, fd, 0);
	if (addr == MAP_FAILED)
		return -errno;
	*ret_addr = addr;
	return 0;
}

int sys_map_shared(void **ret_addr, int fd, uint64_t size, bool write)
{
	return map_window(ret_addr, NULL, fd, size, PROT_READ | (write ? PROT_WRITE : 0),
			  MAP_SHARED | MAP_NORESERVE);
}

int sys_map_sync(void **ret_addr, int fd, uint64_t size)
{
	return map_window(ret_addr, NULL, fd, size, PROT_READ | PROT_WRITE,
			  SYS_MAP_SHARED_VALIDATE | SYS_MAP_SYNC);
}

int sys_remap_shared(void *addr, int fd, uint64_t size)
{
	return map_window(&addr, addr, fd, size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE | MAP_FIXED);
}

int sys_fdatasync(int fd)
{
	int ret = dax_test_fail_sys("fdatasync");

	if (ret)
		return ret;
	do {
		ret = result(fdatasync(fd));
	} while (ret == -EINTR);
	return ret;
}

void sys_advise_random(void *addr, uint64_t size)
{
	madvise(addr, size, MADV_RANDOM);
}

static int lock_file(int fd, int how)
{
	int ret = dax_test_fail_sys("flock");

	if (ret)
		return ret;
	if (flock(fd, how | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

int sys_lock_file(int fd)
{
	return lock_file(fd, LOCK_EX);
}

int sys_lock_file_shared(int fd)
{
	return lock_file(fd, LOCK_SH);
}

void sys_unlock_file(int fd)
{
	flock(fd, LOCK_UN);
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

int64_t sys_result(int64_t ret)
{
	return ret < 0 ? -errno : ret;
}

int sys_map_result(const void *addr)
{
	return addr == MAP_FAILED ? -errno : 0;
}

int sys_ioctl(int fd, unsigned long request, void *arg)
{
	return result(ioctl(fd, request, arg));
}

int sys_save_errno(void)
{
	return errno;
}

void sys_restore_errno(int saved)
{
	errno = saved;
}

int sys_set_signal(int sig, const struct sigaction *action,
		   struct sigaction *ret_before)
{
	return result(sigaction(sig, action, ret_before));
}

/* An access is repeated and ends the process, also where the signal is ignored;
 * what somebody has sent is sent once more. */
void sys_pass_signal(const struct sigaction *before, int sig, siginfo_t *info,
		     void *context)
{
	bool sent = info->si_code <= 0;

	if (before->sa_flags & SA_SIGINFO) {
		before->sa_sigaction(sig, info, context);
		return;
	}
	if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
		before->sa_handler(sig);
		return;
	}
	if (sent && before->sa_handler == SIG_IGN)
		return;
	signal(sig, SIG_DFL);
	if (sent)
		raise(sig);
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

/* ---- threads ------------------------------------------------------------- */

static int create_thread(void *(*fn)(void *arg), void *arg, size_t stack_bytes)
{
	pthread_attr_t attr;
	pthread_t thread;
	int ret = pthread_attr_init(&attr);

	if (ret)
		return ret;
	ret = pthread_attr_setstacksize(&attr, stack_bytes);
	if (!ret)
		ret = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (!ret)
		ret = pthread_create(&thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return ret;
}

int sys_create_thread(void *(*fn)(void *arg), void *arg, size_t stack_bytes)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = create_thread(fn, arg, stack_bytes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret == EAGAIN ? -ENOMEM : -ret;
}

/* ---- fork ---------------------------------------------------------------- */

unsigned int sys_fork_generation;

bool sys_at_fork(void (*prepare)(void), void (*parent)(void),
		 void (*child)(void))
{
	return pthread_atfork(prepare, parent, child) == 0;
}

/* ---- the environment ----------------------------------------------------- */

bool sys_feature_disabled(const char *name)
{
	const char *list = getenv("DAXCORE_DISABLE");
	size_t len = strlen(name);

	while (list && *list) {
		size_t n = strcspn(list, ",");

		if (n == len && !memcmp(list, name, n))
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}
