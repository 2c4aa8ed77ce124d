//! Code that is compiled once more for each set of vector instructions, and chosen at run time.

/// Runs a block, with `$simd` ([`pulp::Simd`]) in it, on the best vector instructions that `$arch` ([`pulp::Arch`]) found. A closure would do,
/// were it sure to be inlined; what isn't inlined is compiled for the oldest processors. So what the block
/// calls must be `#[inline(always)]` or small.
macro_rules! vectorized {
    ($arch:expr, $simd:ident, <$($life:lifetime),*> ($($name:ident: $type:ty = $value:expr),* $(,)?) -> $out:ty $body:block) => {{
        struct Work<$($life),*> {
            $($name: $type),*
        }
        impl<$($life),*> pulp::WithSimd for Work<$($life),*> {
            type Output = $out;

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, $simd: S) -> $out {
                let Self { $($name),* } = self;
                $body
            }
        }
        $arch.dispatch(Work { $($name: $value),* })
    }};
}

pub(crate) use vectorized;
