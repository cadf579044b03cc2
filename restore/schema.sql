-- The three tables as this project creates them where they are missing: by the local stack, and by a load of CSV files.
CREATE TABLE departments (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT,
    department VARCHAR(255) NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE jobs (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT,
    job VARCHAR(255) NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The index holds all that a report reads, so that one year's hires are one range of it.
CREATE TABLE employees (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT,
    name VARCHAR(255) NOT NULL,
    datetime DATETIME NOT NULL,
    department_id INT UNSIGNED NOT NULL,
    job_id INT UNSIGNED NOT NULL,
    PRIMARY KEY (id),
    KEY employees_hired (datetime, department_id, job_id),
    CONSTRAINT employees_department FOREIGN KEY (department_id) REFERENCES departments (id),
    CONSTRAINT employees_job FOREIGN KEY (job_id) REFERENCES jobs (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
