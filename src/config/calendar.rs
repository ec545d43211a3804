//! Which cron expressions skip months, because the day that they name is not in all of them.

/// Days that each month always has.
const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// A day that an expression of five fields names and that some of its months lack.
pub(super) fn day_that_some_months_lack(pattern: &str) -> Option<u32> {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let [_, _, days, months, _] = fields.as_slice() else { return None };
    let shortest = months_of(months).into_iter().filter_map(|month| DAYS.get(month)).min()?;
    // A range such as `15-31` has days in every month; what matters is where it begins.
    let first_day = |item: &str| item.split(['-', '/', 'W', 'w']).next().and_then(|day| day.parse::<u32>().ok());
    days.split(',').filter_map(first_day).find(|day| day > shortest)
}

/// The months, from 0, that a field names; all of them where it is not understood.
fn months_of(field: &str) -> Vec<usize> {
    let number = |text: &str| {
        let by_name = MONTHS.iter().position(|name| text.eq_ignore_ascii_case(name));
        by_name.or_else(|| text.parse::<usize>().ok()?.checked_sub(1)).filter(|month| *month < MONTHS.len())
    };
    let item = |item: &str| -> Option<Vec<usize>> {
        if let Some((range, step)) = item.split_once('/') {
            let step = step.parse().ok().filter(|step| *step > 0)?;
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None if range == "*" => (0, MONTHS.len() - 1),
                None => (number(range)?, MONTHS.len() - 1),
            };
            return Some((first..=last).step_by(step).collect());
        }
        match item.split_once('-') {
            Some((first, last)) => Some((number(first)?..=number(last)?).collect()),
            None => Some(vec![number(item)?]),
        }
    };
    let months: Option<Vec<Vec<usize>>> = field.split(',').map(item).collect();
    months.map_or_else(|| (0..MONTHS.len()).collect(), |months| months.concat())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0 4 31 * *", Some(31))]
    #[case("0 4 1,30 * *", Some(30))]
    #[case("0 4 29 2 *", Some(29))]
    #[case("0 4 31 1-6/2 *", None)]
    #[case("0 4 31 1,3,5,7,8,10,12 *", None)]
    #[case("0 4 31 Dec *", None)]
    #[case("0 4 30 APR-JUN *", None)]
    #[case("0 4 31 */3 *", Some(31))]
    #[case("0 4 31W * *", Some(31))]
    #[case("0 4 28 * *", None)]
    #[case("0 4 15-31 * *", None)]
    #[case("0 4 */2 * *", None)]
    #[case("0 4 L * *", None)]
    #[case("0 3 * * Sun", None)]
    #[case("@monthly", None)]
    fn a_day_is_named_when_a_month_of_the_expression_lacks_it(#[case] pattern: &str, #[case] expected: Option<u32>) {
        assert_eq!(day_that_some_months_lack(pattern), expected);
    }
}
