/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys.h -- the operating system, behind one door
 *
 * Owns: system calls, allocation, clocks, fork detection.  The only file that
 * touches errno; everything above sees 0 or -errno.
 */
#ifndef DAXCORE_SYS_H
#define DAXCORE_SYS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler.h"
#include "test_hooks.h"

/* Allocate zeroed memory aligned to a cache line.  NULL when there is none. */
void *dax_zalloc(size_t size);

/* The same aligned to FALSE_SHARING, for structures with members so aligned. */
void *dax_zalloc_apart(size_t size);
void dax_free(void *ptr);

/* One uninitialised 4 KiB page aligned to 4 KiB; dax_free() it. */
void *dax_alloc_page(void);

/*
 * Reserve @size bytes of zeroed address space that costs memory only where it
 * is touched.  0 or -ENOMEM.
 */
int sys_reserve(void **ret_addr, size_t size);
void sys_unreserve(void *addr, size_t size);

/* Give back the memory of a page-aligned part of a reserved range: it reads as
 * zeroes again. */
void sys_discard(void *addr, size_t size);

/* Read-only zeroes that cost no memory, aligned to @align; NULL on failure. */
void *sys_reserve_readonly(size_t size, size_t align);
void sys_nohugepage(void *addr, size_t size);
int sys_populate_write(void *addr, size_t size);

/* Bytes that can be allocated without swapping; UINT64_MAX if unknown. */
uint64_t sys_available_memory(void);

uint64_t sys_clock_ns(void);
int64_t sys_clock_real_ns(void);	/* the clock of file times */
void sys_yield(void);

/* The calling thread, as gettid(2) numbers it, and the CPU it is on. */
uint32_t sys_gettid(void);
uint16_t sys_cpu(void);

/* What an open file is. */
enum sys_file_kind { SYS_FILE_REGULAR, SYS_FILE_CHAR, SYS_FILE_DIR, SYS_FILE_OTHER };

struct sys_file_info {
	enum sys_file_kind kind;
	uint64_t size;
	unsigned int rdev_major;
	unsigned int rdev_minor;
	uint64_t dev;			/* with ino: which file it is */
	uint64_t ino;
	int64_t ctime_ns;		/* when it last changed */
	uint64_t allocated;		/* bytes of blocks (du) */
};

/* Descriptors: >= 0 or -errno.  All are close-on-exec. */
int sys_open(const char *path, bool write);
int sys_create_new(const char *path);
int sys_memfd(const char *name);
void sys_close(int fd);
void sys_unlink(const char *path);
int sys_file_info(int fd, struct sys_file_info *ret_info);
int sys_truncate(int fd, uint64_t size);
int sys_seal_shrink(int fd);
int sys_allocate(int fd, uint64_t offset, uint64_t len);
int sys_allocate_keep_size(int fd, uint64_t offset, uint64_t len);
int sys_punch(int fd, uint64_t offset, uint64_t len);
int sys_map_shared(void **ret_addr, int fd, uint64_t size, bool write);
/* Put a writable mapping of the file in the place of another. */
int sys_remap_shared(void *addr, int fd, uint64_t size);
void sys_advise_random(void *addr, uint64_t size);
/* Bytes done, fewer than @len only if the rest failed; or -errno.  The limit
 * on the size of files is -EFBIG, and not the signal SIGXFSZ. */
int64_t sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset);
int64_t sys_read(int fd, void *buf, size_t len);
/* Bytes done, fewer than @len at the end of file; or -errno. */
int64_t sys_pread(int fd, void *buf, size_t len, uint64_t offset);
/* Next byte of data, of hole, at or after @offset; -ENXIO: there is none,
 * -EINVAL: the file system does not know. */
int64_t sys_seek_data(int fd, uint64_t offset);
int64_t sys_seek_hole(int fd, uint64_t offset);
/* First extent in a range that has blocks, written or not: 1 and where it
 * begins and ends, 0: none, -EOPNOTSUPP: the file system does not tell. */
int sys_fiemap(int fd, uint64_t offset, uint64_t len, uint64_t *ret_start,
	       uint64_t *ret_end);
/* Bytes of a block of the file system the file is in. */
uint64_t sys_fs_block_size(int fd);
int sys_dup(int fd);
int sys_dup_over(int fd, int over);	/* @over stands for what @fd does */
/* The same with MAP_SYNC: only persistent memory grants it. */
int sys_map_sync(void **ret_addr, int fd, uint64_t size);
int sys_fdatasync(int fd);
/* Whole-file lock, exclusive between open files: 0 or -EBUSY, -errno. */
int sys_lock_file(int fd);
int sys_lock_file_shared(int fd);
void sys_unlock_file(int fd);
/* Process that holds the lock on the file behind @fd, 0 if unknown. */
int sys_lock_holder(int fd);
/* First line of a (sysfs) file: 0 or -errno. */
int sys_read_line(const char *path, char *buf, size_t size);
int sys_read_link(const char *path, char *buf, size_t size);

/* What a system call made elsewhere has returned: @ret, or -errno if it is < 0. */
int64_t sys_result(int64_t ret);
/* mmap(2): where it is, or MAP_FAILED: 0 or -errno. */
int sys_map_result(const void *addr);
int sys_ioctl(int fd, unsigned long request, void *arg);

/* What the interrupted code is to find again, in a signal handler. */
int sys_save_errno(void);
void sys_restore_errno(int saved);

struct sigaction;
int sys_set_signal(int sig, const struct sigaction *action,
		   struct sigaction *ret_before);
/* For a handler of SIGSEGV or SIGBUS, about a signal that is not its own: do
 * what @before, which it has replaced, would have done. */
void sys_pass_signal(const struct sigaction *before, int sig, siginfo_t *info,
		     void *context);

/* Sleep while *@word == @val; returns at once if it differs, and may return
 * early: callers look again. */
void futex_wait(_Atomic uint32_t *word, uint32_t val);
/* The same; -EINTR: a signal handler has run. */
int futex_wait_interruptible(_Atomic uint32_t *word, uint32_t val);
void futex_wake(_Atomic uint32_t *word, int nr);

/* A three-state futex mutex: zeroed memory is an unlocked one. */
struct mutex {
	_Atomic uint32_t state;	/* 0 free, 1 held, 2 held with sleepers */
};
void mutex_lock(struct mutex *lock);
void mutex_unlock(struct mutex *lock);

/* In a forked child: whoever held it is not here. */
void mutex_reset(struct mutex *lock);

/*
 * Asymmetric store-load barrier.  Light on the side that runs all the time,
 * heavy on the side that is about to sleep or to exclude.  Where the kernel
 * has no membarrier(2) both sides are full fences.
 */
extern bool sys_has_membarrier;

static inline void smp_mb(void)
{
#ifdef __SANITIZE_THREAD__
	static _Atomic int order;	/* TSan does not know fences */

	atomic_fetch_add(&order, 0);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* A full fence after an atomic read-modify-write, which is one on x86. */
static inline void smp_mb__after_atomic(void)
{
#ifdef __x86_64__
	barrier();
#else
	smp_mb();
#endif
}

static inline void asym_barrier_light(void)
{
	barrier();
	if (unlikely(!sys_has_membarrier) || dax_test_no_membarrier())
		smp_mb();
}

void asym_barrier_heavy(void);

/* Is a feature of the kernel switched off in DAXCORE_DISABLE, names with commas
 * between them? */
bool sys_feature_disabled(const char *name);

/* A detached thread, to which no signal comes.  0; -ENOMEM: no memory for its stack,
 * or the process may have no more of them (RLIMIT_NPROC, the cgroup). */
int sys_create_thread(void *(*fn)(void *arg), void *arg, size_t stack_bytes);

/* How many fork() lie between this process and the one that loaded the
 * library: an object remembers it and is stale in a child. */
extern unsigned int sys_fork_generation;

/* Calls around every fork(); false if they cannot be arranged. */
bool sys_at_fork(void (*prepare)(void), void (*parent)(void),
		 void (*child)(void));

#endif
