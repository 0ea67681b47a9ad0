//! Handler: what is done while the process is dying of a signal?
//!
//! Everything here is async-signal-safe: no allocation, no lock, no formatting of the standard library. The handler
//! writes what it knows, most important first, starts the program that names the addresses, and lets the signal take its
//! course: what was in force before (the standard library's message about a stack overflow) or the default.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::{FILE, PATH};

const SIGNALS: [c_int; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
/// Frames of the stack that are written.
const FRAMES_MAX: usize = 128;
/// How long another thread that crashes too waits for the first to be done.
const OTHERS_WAIT: Duration = Duration::from_millis(500);
/// How long the first process of a container, whose end is the end of all, waits for the addresses' names.
const FIRST_PROCESS_WAITS: Duration = Duration::from_secs(1);

/// What was in force before.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();
/// The thread that handles a crash; 0 while there is none.
static HANDLING: AtomicI32 = AtomicI32::new(0);
static DONE: AtomicI32 = AtomicI32::new(0);

pub(super) fn install() {
    let install_one = |signal: c_int| {
        // SAFETY: both structures are plain data for which zeros are valid, the handler has the signature that SA_SIGINFO
        // asks for, and it is async-signal-safe. SA_ONSTACK: a stack overflow leaves no room on the thread's own stack.
        unsafe {
            let mut new: libc::sigaction = std::mem::zeroed();
            let mut old: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = on_signal as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut new.sa_mask);
            libc::sigaction(signal, &new, &mut old);
            old
        }
    };
    BEFORE.get_or_init(|| SIGNALS.map(install_one));
    // The first walk resolves the unwinder's functions, for which the loader needs more stack than a handler may have.
    // SAFETY: nobody else walks a stack while a process starts; see also `report`.
    unsafe { backtrace::trace_unsynchronized(|_| true) };
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // SAFETY: no arguments, no memory.
    let this = unsafe { libc::gettid() };
    let first = HANDLING.compare_exchange(0, this, Ordering::AcqRel, Ordering::Acquire);
    match first {
        Ok(_) => {
            let file = FILE.load(Ordering::Acquire);
            if file >= 0 {
                // Somebody else's file from here on: what is left of this process must not remove it.
                report(file, signal, code, address, context);
                name_addresses();
            }
            DONE.store(1, Ordering::Release);
        }
        // The handler itself failed: what is written is written.
        Err(handling) if handling == this => {}
        Err(_) => wait_while(OTHERS_WAIT, || DONE.load(Ordering::Acquire) == 0),
    }
    let_die(signal, code);
}

/// Lets the signal do what it would have done without us.
fn let_die(signal: c_int, code: c_int) {
    let before = BEFORE.get().and_then(|before| SIGNALS.iter().zip(before).find(|(number, _)| **number == signal));
    // A fault happens again when the handler returns. A signal that somebody sent does not, and abort() raises one.
    let sent = code <= 0;
    // SAFETY: sigaction, raise and _exit are async-signal-safe; the structures are plain data.
    unsafe {
        match before {
            Some((_, before)) if !sent => {
                libc::sigaction(signal, before, std::ptr::null_mut());
            }
            _ => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, std::ptr::null_mut());
                // Blocked while its handler runs, it takes effect when that returns; the first process of a container
                // cannot kill itself by it.
                libc::raise(signal);
                if libc::getpid() == 1 {
                    libc::_exit(128 + signal);
                }
            }
        }
    }
}

fn report(file: c_int, signal: c_int, code: c_int, address: usize, context: *mut c_void) {
    let pc = program_counter(context);
    let mut line = Line::new();
    line.text("signal ").number(signal as i64).text(" ").number(code.into()).text(" ").hex(address);
    line.write(file);
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, the last one 0.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    line.text("thread ").bytes(&name[..name.iter().position(|&byte| byte == 0).unwrap_or(0)]);
    line.write(file);
    line.text("pc ").hex(pc);
    line.write(file);
    // The frames of this handler come first: whoever reads begins at the program counter.
    let mut frames = 0;
    // SAFETY: the unwinder keeps no state that another thread could spoil, allocates nothing, and finds the tables of a
    // module without a lock (glibc 2.35). Should it fault all the same, the lines above are written.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            let ip = frame.ip() as usize;
            // A return address is one past the call.
            line.text("frame ").hex(if ip == pc { ip } else { ip.saturating_sub(1) });
            line.write(file);
            frames += 1;
            frames < FRAMES_MAX
        });
    }
    line.text("end");
    line.write(file);
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: the third argument of an SA_SIGINFO handler is a ucontext_t.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize }
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: the third argument of an SA_SIGINFO handler is a ucontext_t.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as usize }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn program_counter(_: *mut c_void) -> usize {
    0
}

/// Starts `conexusd crash-symbols FILE`, and waits for it only where it would die with this process.
fn name_addresses() {
    let path = PATH.load(Ordering::Acquire);
    if path.is_null() {
        return;
    }
    const PROGRAM: &CStr = c"/proc/self/exe";
    let arguments: [*const c_char; 4] = [c"conexusd".as_ptr(), c"crash-symbols".as_ptr(), path, std::ptr::null()];
    let environment: [*const c_char; 1] = [std::ptr::null()];
    // This thread waits until the child has closed what it inherited and is the other program: an inherited lock would
    // keep whoever comes after this process from the index and the files of the telemetry.
    const FLAGS: c_int = libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the system call itself, not fork(): that would run the allocator's handlers, whose locks may be held. The
    // child has this thread only and does nothing but system calls on memory prepared here until it is another program.
    unsafe {
        let child = libc::syscall(libc::SYS_clone, FLAGS as usize, 0_usize, 0_usize, 0_usize, 0_usize) as c_int;
        if child == 0 {
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
            let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            for standard in 0..3 {
                libc::dup2(nothing, standard);
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::execve(PROGRAM.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            libc::_exit(127);
        }
        if child > 0 && libc::getpid() == 1 {
            wait_while(FIRST_PROCESS_WAITS, || libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) == 0);
        }
    }
}

fn wait_while(limit: Duration, mut condition: impl FnMut() -> bool) {
    const STEP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    for _ in 0..limit.as_millis() / 5 {
        if !condition() {
            return;
        }
        // SAFETY: STEP is valid, and nobody asks for the rest.
        unsafe { libc::nanosleep(&STEP, std::ptr::null_mut()) };
    }
}

/// One line of text on the stack.
struct Line {
    bytes: [u8; 96],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 96], length: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            // The last place is for the line's end.
            if self.length < self.bytes.len() - 1 {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn digits(&mut self, mut value: usize, base: usize) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[value % base];
            value /= base;
            if value == 0 || at == 0 {
                break;
            }
        }
        self.bytes(&digits[at..])
    }

    fn hex(&mut self, value: usize) -> &mut Self {
        self.digits(value, 16)
    }

    fn number(&mut self, value: i64) -> &mut Self {
        if value < 0 {
            self.text("-");
        }
        self.digits(value.unsigned_abs() as usize, 10)
    }

    /// Writes the line with its end, and begins another.
    fn write(&mut self, file: c_int) {
        self.bytes[self.length] = b'\n';
        // SAFETY: the bytes are there. There is nobody to tell of an error.
        unsafe { libc::write(file, self.bytes.as_ptr().cast(), self.length + 1) };
        self.length = 0;
    }
}
