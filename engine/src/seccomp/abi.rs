//! System call numbers of the ABIs a kernel of ours can be called through.

use std::str::FromStr;

/// One way to call the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abi {
    /// 64-bit x86. Its x32 half (numbers from 0x4000_0000) is always refused.
    X86_64,
    /// 32-bit x86.
    I386,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm (EABI).
    Arm,
}

impl Abi {
    /// This machine's.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// The 32-bit one beside it.
    pub fn narrow(self) -> Self {
        match self {
            Self::X86_64 | Self::I386 => Self::I386,
            Self::Aarch64 | Self::Arm => Self::Arm,
        }
    }

    /// Go's name for the architecture, as profiles write it.
    pub fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::I386 => "386",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// The OCI runtime specification's name (config-linux.md, seccomp).
    pub fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::I386 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// `AUDIT_ARCH_…`, what the filter sees (include/uapi/linux/audit.h).
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xC000_00B7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// A call's number; `None`: this ABI does not have it.
    pub fn number(self, name: &str) -> Option<u32> {
        let id = match self {
            Self::X86_64 => syscalls::x86_64::Sysno::from_str(name).ok()?.id(),
            Self::I386 => syscalls::x86::Sysno::from_str(name).ok()?.id(),
            Self::Aarch64 => syscalls::aarch64::Sysno::from_str(name).ok()?.id(),
            Self::Arm => syscalls::arm::Sysno::from_str(name).ok()?.id(),
        };
        u32::try_from(id).ok()
    }

    /// Whether a number belongs to a call that this build knows.
    pub fn knows(self, number: u32) -> bool {
        let number = number as usize;
        match self {
            Self::X86_64 => syscalls::x86_64::Sysno::new(number).is_some(),
            Self::I386 => syscalls::x86::Sysno::new(number).is_some(),
            Self::Aarch64 => syscalls::aarch64::Sysno::new(number).is_some(),
            Self::Arm => syscalls::arm::Sysno::new(number).is_some(),
        }
    }
}

/// Above every number of the common range in every table (469 in 2026); Arm's private calls lie far beyond.
pub(super) const COMMON_END: u32 = 1024;
