"""What a grader looks at, rule by rule: each takes the project and yields what is wrong, with file and line."""
