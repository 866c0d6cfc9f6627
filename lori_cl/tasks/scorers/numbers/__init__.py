r"""Read the number in an answer, exactly, in the notations that people and models use.

Grammar, after `plain_text` has replaced Unicode and LaTeX forms (`½`, `²`, `−`, `\dfrac`, `\text{}`, `$…$`):

    quantity  = [currency] signed [multiplier] [unit]           $5, 3 km, 12 cm^2, 50 %, 2 million
              | digits ":" 2 digits [":" 2 digits]              3:45, a time
              | digits ":" digits                               16:9, a ratio
    signed    = ["-" | "+" | "negative" | "minus"] magnitude    the sign touches the number; see below
    magnitude = digits " " digits "/" digits                    1 1/2, a mixed number
              | term ["/" term]                                 3/4, 3√2/2
    term      = [decimal ["*"]] root | power
    power     = atom ["^" exponent]                             2^10, 10^(-3), 9^(1/2)
    atom      = decimal | "(" signed ")" | "\frac" group group
    root      = "√" (decimal | "(" signed ")")                  √2, \sqrt{2}
    decimal   = digits with separators [("e" | "E") digits]     2e3, 1.5E-3
              | decimal ("*" | "x") "10^" exponent              2 × 10^3

Separators in a decimal:

- Groups of three after `,`, `.`, a space or an apostrophe are thousands: 1,234,567 and 1.234.567 and
  1 000 and 1'000. The other sign then marks the decimals: 1,234.56 and 1.234,56. Indian groups (12,34,567)
  are supported too.
- One `,` that cannot separate thousands marks decimals: 3,5 and 0,125 and 1,23.
- One `.` always marks decimals. So 1,234 is 1234 (the English convention) and 1.234 is 1.234.
- A `,` with a space after it separates two numbers. 1,2,3 and 1.2.3 are not numbers.

A sign counts only if no operand precedes it: 10-3 does not contain -3. Parentheses do not negate: (5) is 5.
An expression such as 10-3, 2x+3 or 1+√2 is not evaluated and is not a number. x^2, 5y, ±5, >5 and 2π are not
numbers either.

The number that counts in a text:

1. The content of the last `\boxed{…}`, if there is one.
2. Otherwise the first number after the last `####`, `answer is`, `the answer:` or `final answer:` that is
   followed by a number. In an equation (3 * 6 = 18) the last side counts.
3. Otherwise the last number.

A target must contain exactly one number. A text of several words that contains several numbers is accepted
with a warning.

Two quantities are equal if their values are equal and their units do not differ. A unit that only one of them
names is ignored (`18 dollars` is 18, `25 %` is 25). Units are not converted (5 km is not 5000 m). A time
equals only a time; a ratio equals only a ratio.
"""

from lori_cl.tasks.scorers.numbers.answers import answer_quantity, last_number, target_problem
from lori_cl.tasks.scorers.numbers.values import Quantity, Value, same_quantity

__all__ = ["Quantity", "Value", "answer_quantity", "last_number", "same_quantity", "target_problem"]
